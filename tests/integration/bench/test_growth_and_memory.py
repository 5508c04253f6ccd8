"""Growth and memory, made small."""

from __future__ import annotations

import pytest
import redis.asyncio as redis
import sqlalchemy as sa

from adapters.entrypoints.bench.documents import session_id_of, small
from adapters.entrypoints.bench.stage import Stage
from adapters.entrypoints.bench.works.growth import costs_at, load_sessions, number_of
from adapters.entrypoints.bench.works.memory import memory, used_bytes
from adapters.postgres.session_registry import PostgresSessionRegistry
from domain.ports import SessionQuery

# cashews and aiocache call what redis-py would rather not have called.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")


async def test_sessions_that_were_loaded_in_bulk_are_as_if_they_had_been_saved(empty_stage: Stage) -> None:
    analytics = small(empty_stage.documents.recorded)
    await load_sessions(empty_stage.truth.engine, analytics, 1, 300)
    session_ids = {session_id_of(number_of(n)) for n in range(1, 301)}
    assert len(session_ids) == 300
    assert await empty_stage.truth.repository.versions_of(session_ids) == dict.fromkeys(session_ids, 1)
    loaded = await empty_stage.truth.load(number_of(300))
    assert loaded.session_id == session_id_of(number_of(300))
    registry = PostgresSessionRegistry(empty_stage.truth.engine)
    assert (await registry.recent(1))[0].session_id == loaded.session_id
    assert [session.patient_code for session in await registry.page(SessionQuery(patient_code="P7"), limit=10)] == ["P7", "P7"]
    # The triggers work again: a write has its version, and the log tells of it.
    position = (await empty_stage.truth.repository.changes_since(None)).position
    async with empty_stage.truth.engine.begin() as connection:
        await connection.execute(sa.text("DELETE FROM session_analytics WHERE session_id = :id"), {"id": loaded.session_id})
    changes = (await empty_stage.truth.repository.changes_since(position)).changes
    assert changes is not None
    assert [(change.session_id, change.version) for change in changes] == [(loaded.session_id, 2)]


async def test_costs_are_found_at_every_number_of_sessions(empty_stage: Stage) -> None:
    found = await costs_at((200, 250), empty_stage)
    assert [table.title for table in found.tables] == ["200 sessions", "250 sessions"]
    (curves,) = found.curves
    assert [line.x for line in curves.lines] == [(200.0, 250.0)] * 6


async def test_memory_is_that_of_all_keys_of_a_cache(stage: Stage) -> None:
    async with redis.Redis.from_url(stage.place.redis_url) as client:
        prefix = f"{stage.place.key_prefix}_counted"
        await client.set(f"{prefix}:one", b"x" * 1000)
        one = await used_bytes(client, prefix)
        await client.set(f"before:{prefix}:two", b"x" * 1000)
        assert one > 1000
        assert await used_bytes(client, prefix) > 2000
    (table,) = (await memory(stage)).tables
    plain = table.row("redis-py SET, plain JSON").value.median
    assert all(0 < row.value.median <= plain for row in table.rows)
