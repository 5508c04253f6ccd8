"""What every SessionAnalyticsRepository promises, whatever it is made of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zstandard
from hypothesis import given

from adapters import document
from domain.analytics import Fact, SessionAnalytics
from domain.errors import StoredDataInvalid
from domain.ports import DocumentAnswer, Freshness, SessionAnalyticsRepository
from tests.contracts.conftest import BATCH_MAX
from tests.strategies import any_analytics, edition, examples, new_id, number_of, some_analytics, some_channel

EACH_FRESHNESS = pytest.mark.parametrize("freshness", list(Freshness))


def plain(answer: DocumentAnswer | None) -> bytes:
    """The document's bytes without their coding."""
    assert answer is not None
    return zstandard.ZstdDecompressor().decompress(answer.body) if answer.coding == "zstd" else answer.body


# Absence


@EACH_FRESHNESS
async def test_a_session_never_analysed_is_none(repository: SessionAnalyticsRepository, freshness: Freshness) -> None:
    session_id = new_id()
    for _ in range(2):  # The second answer may come from what was remembered of the first.
        assert await repository.get(session_id, freshness=freshness) is None
        assert await repository.get_document(session_id, freshness=freshness) is None
        assert await repository.get_many([session_id], freshness=freshness) == {}


@EACH_FRESHNESS
async def test_the_version_alone_is_that_of_what_a_read_answers(repository: SessionAnalyticsRepository, freshness: Freshness) -> None:
    session_id = new_id()
    for _ in range(2):  # The second answer may come from what was remembered of the first.
        assert await repository.get_version(session_id, freshness=freshness) is None
    for number in range(1, 4):
        receipt = await repository.save(edition(session_id, number))
        for _ in range(2):
            version = await repository.get_version(session_id, freshness=freshness, at_least=receipt.version)
            answer = await repository.get(session_id, freshness=freshness)
            assert version is not None
            assert answer is not None
            assert (version.version, version.stale) == (receipt.version, False) == (answer.version, answer.stale)
            assert version.age_s >= 0
    assert await repository.delete(session_id) is not None
    assert await repository.get_version(session_id, freshness=freshness) is None


async def test_a_session_that_was_asked_for_before_it_was_analysed_is_found_afterwards(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics()
    assert await repository.get(analytics.session_id) is None
    assert await repository.get_many([analytics.session_id]) == {}
    await repository.save(analytics)
    answer = await repository.get(analytics.session_id)
    assert answer is not None
    assert answer.analytics == analytics
    assert plain(await repository.get_document(analytics.session_id)) == document.encode(analytics)


async def test_a_deleted_session_is_none_everywhere(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics()
    await repository.save(analytics)
    await repository.get(analytics.session_id)
    assert await repository.delete(analytics.session_id) is not None
    for freshness in Freshness:
        assert await repository.get(analytics.session_id, freshness=freshness) is None
        assert await repository.get_document(analytics.session_id, freshness=freshness) is None
        assert await repository.get_many([analytics.session_id], freshness=freshness) == {}


# Round trips


@given(analytics=any_analytics)
@examples(15)
async def test_whatever_is_saved_is_read_back_equal_and_in_canonical_bytes(
    repository: SessionAnalyticsRepository, analytics: SessionAnalytics
) -> None:
    receipt = await repository.save(analytics)
    assert (receipt.version, receipt.changed) == (1, True)
    canonical = document.encode(analytics)
    for _ in range(2):  # By the way of a miss, if the store is a cache, and of a hit.
        answer = await repository.get(analytics.session_id)
        assert answer is not None
        assert (answer.analytics, answer.version) == (analytics, 1)
        assert document.encode(answer.analytics) == canonical
        assert plain(await repository.get_document(analytics.session_id)) == canonical
        many = await repository.get_many([analytics.session_id])
        assert many[analytics.session_id].analytics == analytics


async def test_the_order_in_which_facts_came_does_not_show_in_the_document(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics()
    facts: dict[str, Fact] = {"zone": 1, "area": 2, "b": 3}
    for game in (facts, dict(sorted(facts.items())), dict(reversed(facts.items()))):
        reordered = replace(analytics, recording=replace(analytics.recording, game=game))
        await repository.save(reordered)
        for _ in range(2):
            assert plain(await repository.get_document(analytics.session_id)) == document.encode(reordered)


async def test_a_large_document_is_read_back_equal(repository: SessionAnalyticsRepository) -> None:
    channels = tuple(some_channel(f"CH{number}") for number in range(300))
    analytics = some_analytics(channels=channels)
    await repository.save(analytics)
    for _ in range(2):
        answer = await repository.get(analytics.session_id)
        assert answer is not None
        assert answer.analytics == analytics
        assert plain(await repository.get_document(analytics.session_id)) == document.encode(analytics)


async def test_a_session_without_channels_is_read_back_equal(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics(channels=())
    await repository.save(analytics)
    answer = await repository.get(analytics.session_id)
    assert answer is not None
    assert answer.analytics == analytics


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every scalar in a document, with the way to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield path, value
    else:
        for key, child in inner:
            yield from leaves(child, (*path, key))


def with_another_value(analytics: SessionAnalytics, path: tuple[str | int, ...]) -> SessionAnalytics | None:
    """The analytics with one field changed; None if no other value is valid there."""
    body = json.loads(document.encode(analytics))
    *way, last = path
    place = body
    for step in way:
        place = place[step]
    value = place[last]
    if isinstance(value, bool):
        others: list[object] = [not value, None]
    elif isinstance(value, int):
        others = [value + 1]
    elif isinstance(value, float):
        others = [value * 1.0009765625]
    else:
        others = [f"{value}x", "estimated", "2001-02-03T04:05:06.000007", "2001-02-03T04:05:06.000007Z"]
    for other in others:
        place[last] = other
        try:
            return document.decode(json.dumps(body), of="the example")
        except StoredDataInvalid:
            continue
    return None


async def test_a_change_of_any_single_field_is_a_new_version_and_is_read_back(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics()
    await repository.save(analytics)
    version, unchangeable, moments = 1, set(), 0
    for path, _ in leaves(json.loads(document.encode(analytics))):
        if path == ("session_id",):
            continue
        changed = with_another_value(analytics, path)
        if changed is None:
            unchangeable.add(path)
            continue
        receipt = await repository.save(changed)
        if path == ("summary", "processed_at"):
            moments += 1
            assert not receipt.changed or changed.content() != analytics.content(), path
            continue
        assert receipt.changed, path
        version += 1
        answer = await repository.get(analytics.session_id)
        assert answer is not None
        assert (answer.analytics, answer.version) == (changed, version), path
        analytics = changed
    assert moments == 1
    assert unchangeable == {("schema",), ("parameters", "spectrum_window")}
    assert version > 100


# Versions


async def test_versions_count_up_across_deletion_and_saving_again(repository: SessionAnalyticsRepository) -> None:
    session_id = new_id()
    assert (await repository.save(edition(session_id, 1))).version == 1
    assert (await repository.save(edition(session_id, 2))).version == 2
    deleted = await repository.delete(session_id)
    assert deleted is not None
    assert deleted.version == 3
    again = await repository.save(edition(session_id, 2))
    assert (again.version, again.changed) == (4, True)
    answer = await repository.get(session_id)
    assert answer is not None
    assert answer.version == 4


async def test_saving_equal_content_again_changes_nothing_and_keeps_the_version(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics()
    await repository.save(analytics)
    for _ in range(2):
        receipt = await repository.save(analytics)
        assert (receipt.version, receipt.changed) == (1, False)


async def test_another_moment_of_processing_alone_is_no_change(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics()
    await repository.save(analytics)
    later = replace(analytics, summary=replace(analytics.summary, processed_at=datetime(2026, 1, 1, tzinfo=UTC)))
    receipt = await repository.save(later)
    assert (receipt.version, receipt.changed) == (1, False)
    answer = await repository.get(analytics.session_id, freshness=Freshness.FRESH)
    assert answer is not None
    assert answer.analytics == analytics


async def test_going_back_to_an_earlier_content_is_a_change(repository: SessionAnalyticsRepository) -> None:
    session_id = new_id()
    for version, number in enumerate([1, 2, 1, 2], start=1):
        receipt = await repository.save(edition(session_id, number))
        assert (receipt.version, receipt.changed) == (version, True)
        answer = await repository.get(session_id)
        assert answer is not None
        assert number_of(answer.analytics) == number


async def test_deleting_what_is_not_there_is_none_and_counts_nothing(repository: SessionAnalyticsRepository) -> None:
    session_id = new_id()
    assert await repository.delete(session_id) is None
    await repository.save(edition(session_id, 1))
    assert await repository.delete(session_id) is not None
    assert await repository.delete(session_id) is None
    assert (await repository.save(edition(session_id, 1))).version == 3


# Many


async def test_many_sessions_are_answered_once_each_whatever_the_asking(repository: SessionAnalyticsRepository) -> None:
    saved = [edition(new_id(), number) for number in range(1, 6)]
    versions = {analytics.session_id: (await repository.save(analytics)).version for analytics in saved}
    known, unknown = [analytics.session_id for analytics in saved], [new_id(), new_id()]
    asked = [unknown[0], *known, known[0], *reversed(known), unknown[1], unknown[0]]
    for wanted in (asked, asked[::-1], tuple(asked), set(asked), dict.fromkeys(asked).keys()):
        answers = await repository.get_many(wanted)
        assert answers.keys() == set(known)
        for analytics in saved:
            answer = answers[analytics.session_id]
            assert (answer.analytics, answer.version) == (analytics, versions[analytics.session_id])


@EACH_FRESHNESS
async def test_none_asked_none_answered(repository: SessionAnalyticsRepository, freshness: Freshness) -> None:
    assert await repository.get_many([], freshness=freshness) == {}
    assert await repository.get_many(set(), freshness=freshness) == {}


async def test_more_sessions_than_a_cache_asks_at_once_are_all_answered(repository: SessionAnalyticsRepository) -> None:
    saved = [edition(new_id(), number) for number in range(2 * BATCH_MAX + 1)]
    for analytics in saved:
        await repository.save(analytics)
    asked = [session_id for analytics in saved for session_id in (analytics.session_id, new_id())]
    for _ in range(2):
        answers = await repository.get_many(asked)
        assert {session_id: answer.analytics for session_id, answer in answers.items()} == {a.session_id: a for a in saved}


async def test_many_and_one_agree_after_writes(repository: SessionAnalyticsRepository) -> None:
    kept, changed, deleted = new_id(), new_id(), new_id()
    for session_id in (kept, changed, deleted):
        await repository.save(edition(session_id, 1))
    await repository.get_many([kept, changed, deleted])
    await repository.save(edition(changed, 2))
    await repository.delete(deleted)
    for freshness in Freshness:
        answers = await repository.get_many([kept, changed, deleted], freshness=freshness)
        assert {session_id: number_of(answer.analytics) for session_id, answer in answers.items()} == {kept: 1, changed: 2}


# Freshness


@EACH_FRESHNESS
async def test_a_read_after_a_write_sees_it(repository: SessionAnalyticsRepository, freshness: Freshness) -> None:
    session_id = new_id()
    for number in range(1, 6):
        receipt = await repository.save(edition(session_id, number))
        answer = await repository.get(session_id, freshness=freshness)
        body = await repository.get_document(session_id, freshness=freshness)
        assert answer is not None
        assert body is not None
        assert (number_of(answer.analytics), answer.version, body.version) == (number, receipt.version, receipt.version)


async def test_an_answer_is_never_older_than_the_version_asked_for(repository: SessionAnalyticsRepository) -> None:
    session_id = new_id()
    await repository.save(edition(session_id, 1))
    await repository.get(session_id)
    receipt = await repository.save(edition(session_id, 2))
    for at_least in (0, 1, receipt.version):
        answer = await repository.get(session_id, at_least=at_least)
        body = await repository.get_document(session_id, at_least=at_least)
        assert answer is not None
        assert body is not None
        assert answer.version >= at_least
        assert body.version >= at_least


async def test_a_version_asked_for_of_a_deleted_session_is_none(repository: SessionAnalyticsRepository) -> None:
    session_id = new_id()
    await repository.save(edition(session_id, 1))
    receipt = await repository.delete(session_id)
    assert receipt is not None
    for _ in range(2):
        assert await repository.get(session_id, at_least=receipt.version) is None
        assert await repository.get_document(session_id, at_least=receipt.version) is None


async def test_an_answer_says_where_it_comes_from_and_how_old_it_is(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics()
    await repository.save(analytics)
    for _ in range(2):
        answer = await repository.get(analytics.session_id)
        assert answer is not None
        assert answer.source in {"memory", "postgres", "redis", "near"}
        assert 0 <= answer.age_s < timedelta(hours=1).total_seconds()
        assert answer.source in {"redis", "near"} or answer.age_s == 0


# Concurrency


async def test_concurrent_saves_of_one_session_get_versions_of_their_own(repository: SessionAnalyticsRepository) -> None:
    session_id = new_id()
    receipts = await asyncio.gather(*(repository.save(edition(session_id, number)) for number in range(20)))
    assert sorted(receipt.version for receipt in receipts) == list(range(1, 21))
    last = max(range(20), key=lambda number: receipts[number].version)
    answer = await repository.get(session_id, freshness=Freshness.FRESH)
    assert answer is not None
    assert (number_of(answer.analytics), answer.version) == (last, 20)


async def test_concurrent_saves_of_equal_content_are_one_change(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics()
    receipts = await asyncio.gather(*(repository.save(analytics) for _ in range(10)))
    assert [receipt.version for receipt in receipts] == [1] * 10
    assert sum(receipt.changed for receipt in receipts) == 1


async def test_concurrent_deletions_are_one_deletion(repository: SessionAnalyticsRepository) -> None:
    analytics = some_analytics()
    await repository.save(analytics)
    receipts = await asyncio.gather(*(repository.delete(analytics.session_id) for _ in range(10)))
    assert [receipt.version for receipt in receipts if receipt is not None] == [2]


async def test_readers_beside_writers_see_whole_values_that_never_go_back(repository: SessionAnalyticsRepository) -> None:
    session_ids = [new_id() for _ in range(3)]
    written: dict[Any, dict[int, int | None]] = {session_id: {} for session_id in session_ids}
    done = asyncio.Event()

    async def write(session_id: Any) -> None:
        for number in range(1, 13):
            saved = await repository.save(edition(session_id, number))
            written[session_id][saved.version] = number
            if number % 4 == 0:
                deleted = await repository.delete(session_id)
                assert deleted is not None
                written[session_id][deleted.version] = None

    async def read(session_id: Any, seen: list[tuple[int, int]]) -> None:
        while not done.is_set():
            known = max((version for version in written[session_id]), default=0)
            answer = await repository.get(session_id, freshness=Freshness.FRESH)
            if answer is not None:
                assert answer.version >= known
                seen.append((answer.version, number_of(answer.analytics)))
            many = await repository.get_many(session_ids)
            seen.extend((many[s].version, number_of(many[s].analytics)) for s in many if s == session_id)
            await asyncio.sleep(0)

    seen: dict[Any, list[tuple[int, int]]] = {session_id: [] for session_id in session_ids}
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(read(session_id, seen[session_id])) for session_id in session_ids for _ in range(2)]
        await asyncio.gather(*(write(session_id) for session_id in session_ids))
        done.set()
        await asyncio.gather(*readers)
    for session_id in session_ids:
        for version, number in seen[session_id]:
            assert written[session_id][version] == number
        assert await repository.get(session_id, freshness=Freshness.FRESH) is None
