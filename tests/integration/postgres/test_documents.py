"""What PostgreSQL makes of documents: what can be asked of them in SQL, what it cannot keep, and what it was given by others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import document
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from domain.analytics import SessionAnalytics
from domain.errors import StorageError, StoredDataInvalid
from domain.session import SessionId
from tests.strategies import new_id, some_analytics


async def row_of(engine: AsyncEngine, session_id: SessionId) -> dict[str, Any]:
    async with engine.connect() as connection:
        found = await connection.execute(sa.text("SELECT * FROM session_analytics WHERE session_id = :id"), {"id": session_id})
        return dict(found.mappings().one())


async def test_the_columns_for_researchers_are_extracts_of_the_document(
    engine: AsyncEngine, repository: PostgresSessionAnalyticsRepository
) -> None:
    analytics = some_analytics()
    await repository.save(analytics)
    row = await row_of(engine, analytics.session_id)
    assert {name: row[name] for name in row if name not in {"session_id", "document"}} == {
        "file_name": analytics.recording.file_name,
        "recorded_at": analytics.recording.recorded_at,
        "processed_at": analytics.summary.processed_at,
        "channel_count": analytics.summary.channel_count,
        "overall_compliance": analytics.summary.overall_compliance,
    }
    assert row["document"]["channels"][0]["contractions"]["items"][0]["start_ms"] == 120.5


async def test_what_a_document_does_not_know_is_null_in_its_column(
    engine: AsyncEngine, repository: PostgresSessionAnalyticsRepository
) -> None:
    whole = some_analytics()
    analytics = replace(
        whole, recording=replace(whole.recording, recorded_at=None), summary=replace(whole.summary, overall_compliance=None)
    )
    await repository.save(analytics)
    row = await row_of(engine, analytics.session_id)
    assert (row["recorded_at"], row["overall_compliance"]) == (None, None)


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("file_name = 'asked.c3d'", True),
        ("recorded_at >= '2024-02-29' AND recorded_at < '2024-03-01'", True),
        ("recorded_at >= '2024-03-01'", False),
        ("processed_at = '2024-03-01T01:00:00.000001+01:00'", True),
        ("overall_compliance BETWEEN 0.7 AND 0.8", True),
        ("overall_compliance IS NULL", False),
        ("channel_count = 12", True),
        ('document @> \'{"channels": [{"name": "CH1"}]}\'', True),
        ("document #>> '{recording,game,name}' LIKE 'Maze Größe_'", True),
    ],
)
async def test_a_researcher_finds_sessions_by_sql(
    engine: AsyncEngine, repository: PostgresSessionAnalyticsRepository, condition: str, found: bool
) -> None:
    whole = some_analytics()
    analytics = replace(
        whole,
        recording=replace(whole.recording, file_name="asked.c3d", recorded_at=datetime(2024, 2, 29, 23, 59, 59, 999_999)),  # noqa: DTZ001
        summary=replace(
            whole.summary, channel_count=12, overall_compliance=0.75, processed_at=datetime(2024, 3, 1, 0, 0, 0, 1, tzinfo=UTC)
        ),
    )
    await repository.save(analytics)
    async with engine.connect() as connection:
        sql = sa.text(f"SELECT count(*) FROM session_analytics WHERE session_id = :id AND {condition.replace(':', chr(92) + ':')}")
        assert (await connection.execute(sql, {"id": analytics.session_id})).scalar_one() == int(found)


# What jsonb cannot keep


async def test_minus_zero_is_read_back_as_it_was_saved(repository: PostgresSessionAnalyticsRepository) -> None:
    whole = some_analytics()
    analytics = replace(whole, channels=(replace(whole.channels[0], rms=-0.0),))
    await repository.save(analytics)
    answer = await repository.get(analytics.session_id)
    assert answer is not None
    assert document.encode(answer.analytics) == document.encode(analytics)


@pytest.mark.parametrize("fact", [1e16, 1e22, -1e300, 123456789012345680.0], ids=repr)
async def test_a_large_float_fact_is_read_back_as_it_was_saved(repository: PostgresSessionAnalyticsRepository, fact: float) -> None:
    whole = some_analytics()
    analytics = replace(whole, recording=replace(whole.recording, game={"score": fact}))
    await repository.save(analytics)
    answer = await repository.get(analytics.session_id)
    assert answer is not None
    assert document.encode(answer.analytics) == document.encode(analytics)
    assert type(answer.analytics.recording.game["score"]) is float


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=repr)
async def test_what_is_no_number_is_not_saved_as_something_that_cannot_be_read(
    repository: PostgresSessionAnalyticsRepository, value: float
) -> None:
    whole = some_analytics()
    contractions = whole.channels[0].contractions
    contraction = replace(contractions.items[0], start_ms=value)
    broken = replace(whole, channels=(replace(whole.channels[0], contractions=replace(contractions, items=(contraction,))),))
    await refused_or_read_back(repository, broken)


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "a\udfffb"], ids=ascii)
async def test_a_text_that_postgresql_cannot_keep_is_refused_and_nothing_is_stored(
    repository: PostgresSessionAnalyticsRepository, text: str
) -> None:
    whole = some_analytics()
    await refused_or_read_back(repository, replace(whole, recording=replace(whole.recording, file_name=text)))


async def refused_or_read_back(repository: PostgresSessionAnalyticsRepository, analytics: SessionAnalytics) -> None:
    """Saved whole or not at all: either the write fails as the port says, or every read gives back what was written."""
    try:
        await repository.save(analytics)
    except (StorageError, ValueError):  # ValueError: a programming error, found before anything was sent.
        assert await repository.get(analytics.session_id) is None
        return
    answer = await repository.get(analytics.session_id)
    assert answer is not None
    assert answer.analytics == analytics


# Documents damaged by others

DAMAGES = {
    "another schema": "jsonb_set(document, '{schema}', '2')",
    "no channels": "document - 'channels'",
    "a text for a number": """jsonb_set(document, '{channels,0,rms}', '"secret-value"')""",
    "no object": """'["secret-value"]'""",
    "null": "'null'",
    "a key of another session": "jsonb_set(document, '{session_id}', '\"secret-value\"')",
    "a moment without a zone": """jsonb_set(document, '{summary,processed_at}', '"2025-01-01T00:00:00 secret-value"')""",
    "parameters that contradict each other": "jsonb_set(document, '{parameters,spectrum_overlap_samples}', '100000')",
    "a maximum that is none": "jsonb_set(document, '{parameters,mvc_by_channel}', '{\"secret-value\": -1}')",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_damaged_document_is_reported_by_its_session_and_not_quoted(
    engine: AsyncEngine, repository: PostgresSessionAnalyticsRepository, damage: str
) -> None:
    analytics, sound = some_analytics(), some_analytics()
    await repository.save(analytics)
    await repository.save(sound)
    async with engine.begin() as connection:
        changed = damage.replace(":", "\\:")
        await connection.execute(
            sa.text(f"UPDATE session_analytics SET document = {changed} WHERE session_id = :id"), {"id": analytics.session_id}
        )
    for read in (
        lambda: repository.get(analytics.session_id),
        lambda: repository.get_document(analytics.session_id),
        lambda: repository.get_many([sound.session_id, analytics.session_id]),
    ):
        with pytest.raises(StoredDataInvalid) as caught:
            await read()
        assert str(analytics.session_id) in str(caught.value)
        assert "secret-value" not in str(caught.value)
        assert analytics.recording.file_name not in str(caught.value)
    assert await repository.get(sound.session_id) is not None
    assert (await repository.save(analytics)).changed
    answer = await repository.get(analytics.session_id)
    assert answer is not None
    assert answer.analytics == analytics


async def test_documents_that_were_edited_by_hand_are_read_as_they_are_now(
    engine: AsyncEngine, repository: PostgresSessionAnalyticsRepository
) -> None:
    analytics = some_analytics()
    await repository.save(analytics)
    async with engine.begin() as connection:
        await connection.execute(
            sa.text(
                "UPDATE session_analytics SET document = jsonb_set(document, '{summary,overall_compliance}', '0.5') WHERE session_id = :id"
            ),
            {"id": analytics.session_id},
        )
    answer = await repository.get(analytics.session_id)
    assert answer is not None
    assert (answer.version, answer.analytics.summary.overall_compliance) == (2, 0.5)
    receipt = await repository.save(analytics)
    assert (receipt.version, receipt.changed) == (3, True)


async def test_a_document_put_there_by_sql_is_a_session_like_others(
    engine: AsyncEngine, repository: PostgresSessionAnalyticsRepository
) -> None:
    analytics = some_analytics(new_id())
    async with engine.begin() as connection:
        await connection.execute(
            sa.text("INSERT INTO session_analytics (session_id, document) VALUES (:id, CAST(:document AS jsonb))"),
            {"id": analytics.session_id, "document": document.encode(analytics).decode()},
        )
    answer = await repository.get(analytics.session_id)
    assert answer is not None
    assert (answer.version, answer.analytics) == (1, analytics)


@pytest.mark.parametrize(("characters", "turns"), [(10, 1), (100_000, 3)])
async def test_large_documents_of_a_batch_are_decoded_in_several_turns_of_the_event_loop(
    repository: PostgresSessionAnalyticsRepository, monkeypatch: pytest.MonkeyPatch, characters: int, turns: int
) -> None:
    whole = some_analytics()
    ids = [new_id() for _ in range(4)]
    for session_id in ids:
        recording = replace(whole.recording, game={"note": "x" * characters})
        await repository.save(replace(whole, session_id=session_id, recording=recording))
    loop, decode, turn = asyncio.get_running_loop(), document.decode, 0
    decoded_in: list[int] = []

    def next_turn() -> None:
        nonlocal turn
        turn += 1
        if not ended:
            loop.call_soon(next_turn)

    def noted(body: bytes | str, *, of: SessionId | str) -> SessionAnalytics:
        decoded_in.append(turn)
        return decode(body, of=of)

    monkeypatch.setattr(document, "decode", noted)
    ended = False
    loop.call_soon(next_turn)
    assert (await repository.get_many(ids)).keys() == set(ids)
    ended = True
    assert (len(decoded_in), len(set(decoded_in))) == (4, turns)
