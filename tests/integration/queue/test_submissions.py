"""A session and its job are there together or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.postgres.submissions import Execute, PostgresSubmissions
from adapters.queue.connections import QueueConnections
from adapters.queue.jobs import QUEUE, TASK, ProcrastinateProcessingQueue
from domain.errors import StorageUnavailable, StoredDataInvalid
from domain.session import SessionState, TherapySession
from tests.integration.postgres.test_exchanges import Line, terminate
from tests.proxies import Proxy
from tests.strategies import new_id, some_session


async def jobs(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            sa.text("SELECT queue_name, task_name, status::text, lock, args FROM procrastinate_jobs ORDER BY id")
        )
        return [tuple(row) for row in rows]


async def test_a_submission_is_one_transaction_of_two_statements(
    fresh_database_url: str, fresh_engine: AsyncEngine, queue_connections: QueueConnections
) -> None:
    async with Proxy.to_postgres(fresh_database_url) as proxy:
        single = create_engine(proxy.postgres_url(fresh_database_url), PostgresPolicy(pool_size=1))
        try:
            line = Line(proxy, single)
            queue = ProcrastinateProcessingQueue(PostgresSubmissions(single))
            await queue.submit(some_session())  # The first time the statements are prepared.
            line.heard()
            session = some_session()
            await queue.submit(session)
            assert line.heard() == (["BEGIN", "INSERT", "SELECT", "COMMIT"], 4)
        finally:
            await single.dispose()
    session_id = str(session.session_id)
    assert (await jobs(fresh_engine))[1:] == [(QUEUE, TASK, "todo", session_id, {"session_id": session_id})]


@pytest.mark.parametrize("before", [None, SessionState.FAILED])
async def test_what_dies_between_registering_and_queueing_has_done_neither(
    fresh_engine: AsyncEngine, queue_connections: QueueConnections, fresh_database_url: str, before: SessionState | None
) -> None:
    registry, name = PostgresSessionRegistry(fresh_engine), f"test-{new_id().hex[:12]}"
    session = some_session()
    if before is not None:
        await registry.register(some_session(session.session_id, state=before, failure="because"))
    known = await registry.find(session.session_id)
    dying = create_engine(fresh_database_url, PostgresPolicy(pool_size=1))
    sa.event.listen(dying.sync_engine, "connect", lambda dbapi, _: dbapi.run_async(lambda c: c.execute(f"SET application_name = '{name}'")))

    async def die(execute: Execute, _: TherapySession) -> None:
        await terminate(fresh_engine, name)
        await execute("SELECT 1", {})

    try:
        with pytest.raises(StorageUnavailable):
            await PostgresSubmissions(dying).submit(session, together_with=die)
    finally:
        await dying.dispose()
    assert await registry.find(session.session_id) == known
    assert await jobs(fresh_engine) == []


async def test_a_job_that_cannot_be_queued_takes_its_session_along(fresh_engine: AsyncEngine, queue_connections: QueueConnections) -> None:
    session = some_session()

    async def fail(execute: Execute, registered: TherapySession) -> None:
        assert registered == session
        await execute("SELECT 1 / :zero", {"zero": 0})

    with pytest.raises(StoredDataInvalid, match="22012"):
        await PostgresSubmissions(fresh_engine).submit(session, together_with=fail)
    assert await PostgresSessionRegistry(fresh_engine).find(session.session_id) is None


async def test_connections_ended_by_the_server_between_uses_are_not_noticed(
    fresh_engine: AsyncEngine, queue_connections: QueueConnections, fresh_database_url: str
) -> None:
    name = f"test-{new_id().hex[:12]}"
    several = create_engine(fresh_database_url, PostgresPolicy(pool_size=3))
    sa.event.listen(
        several.sync_engine, "connect", lambda dbapi, _: dbapi.run_async(lambda c: c.execute(f"SET application_name = '{name}'"))
    )
    try:
        queue = ProcrastinateProcessingQueue(PostgresSubmissions(several))
        for count in (1, 2):
            assert (await queue.submit(some_session())).new
            assert await queue.depth() == count
            await terminate(fresh_engine, name)
        assert await queue.depth() == 2
    finally:
        await several.dispose()


async def test_a_locked_session_is_given_up_in_time(
    fresh_engine: AsyncEngine, queue_connections: QueueConnections, fresh_database_url: str
) -> None:
    impatient = create_engine(fresh_database_url, PostgresPolicy(pool_size=1, statement_s=0.2))
    session = some_session()
    registry = PostgresSessionRegistry(fresh_engine)
    await registry.register(some_session(session.session_id, state=SessionState.FAILED))
    try:
        async with fresh_engine.begin() as other:
            await other.execute(sa.text("SELECT 1 FROM therapy_session FOR UPDATE"))
            with pytest.raises(StorageUnavailable, match="DATABASE_STATEMENT_TIMEOUT_S"):
                await ProcrastinateProcessingQueue(PostgresSubmissions(impatient)).submit(session)
    finally:
        await impatient.dispose()
    assert await jobs(fresh_engine) == []
