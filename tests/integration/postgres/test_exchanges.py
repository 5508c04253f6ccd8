"""What is said between the adapter and the server: how many statements, how many round trips, and what happens to dead connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from domain.ports import Freshness
from tests.patience import eventually
from tests.proxies import Proxy, postgres_round_trips, postgres_statements
from tests.strategies import edition, new_id, number_of, some_analytics, some_session


class Line:
    """An engine with one connection, and what goes over it."""

    def __init__(self, proxy: Proxy, engine: AsyncEngine) -> None:
        self._proxy = proxy
        self._heard = (0, 0)
        self.engine = engine
        self.repository = PostgresSessionAnalyticsRepository(engine)
        self.registry = PostgresSessionRegistry(engine)

    def heard(self) -> tuple[list[str], int]:
        """Since the last time: the first words of the statements, and how often an answer was waited for."""
        statements, trips = postgres_statements(self._proxy.sent), postgres_round_trips(self._proxy.sent)
        before, self._heard = self._heard, (len(statements), trips)
        return statements[before[0] :], trips - before[1]


@pytest.fixture
async def line(database_url: str, engine: AsyncEngine) -> AsyncIterator[Line]:
    async with Proxy.to_postgres(database_url) as proxy:
        single = create_engine(proxy.postgres_url(database_url), PostgresPolicy(pool_size=1))
        yield Line(proxy, single)
        await single.dispose()


async def test_a_read_is_one_statement_in_one_round_trip_and_no_transaction(line: Line) -> None:
    analytics, session = some_analytics(), some_session()
    await line.repository.save(analytics)
    await line.registry.register(session)
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "fresh": lambda: line.repository.get(analytics.session_id, freshness=Freshness.FRESH),
        "bounded": lambda: line.repository.get(analytics.session_id),
        "absent": lambda: line.repository.get(new_id()),
        "one of many": lambda: line.repository.get_many([analytics.session_id]),
        "many": lambda: line.repository.get_many([analytics.session_id, *(new_id() for _ in range(1000))]),
        "document": lambda: line.repository.get_document(analytics.session_id),
        "store_id": line.repository.store_id,
        "versions": lambda: line.repository.versions_of([analytics.session_id, *(new_id() for _ in range(1000))]),
        "find": lambda: line.registry.find(session.session_id),
        "recent": lambda: line.registry.recent(10),
    }
    for name, read in reads.items():
        await read()  # The first time the statement is prepared.
        line.heard()
        await read()
        assert line.heard() == (["SELECT"], 1), name
    await line.repository.changes_since(1)
    line.heard()
    await line.repository.changes_since(1)
    assert line.heard() == (["WITH"], 1)
    assert await line.repository.get_many([]) == {}
    assert await line.repository.versions_of([]) == {}
    assert line.heard() == ([], 0)


async def test_a_write_is_one_statement_in_one_round_trip_too(line: Line) -> None:
    analytics = some_analytics()
    await line.repository.save(analytics)
    await line.repository.delete(analytics.session_id)
    line.heard()
    for _ in range(2):  # The second changes nothing, and costs no more.
        await line.repository.save(analytics)
        assert line.heard() == (["SELECT"], 1)
    for _ in range(2):
        await line.repository.delete(analytics.session_id)
        assert line.heard() == (["SELECT"], 1)


async def terminate(engine: AsyncEngine, name: str) -> None:
    """Ends all connections that call themselves so, and waits until they are gone."""
    count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name AND datname = current_database()")
    async with engine.connect() as connection:
        await connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name AND datname = current_database()"
            ),
            {"name": name},
        )

        async def left() -> int:
            await connection.rollback()
            return int((await connection.execute(count, {"name": name})).scalar_one())

        await eventually(left, lambda number: number == 0)


@pytest.mark.parametrize("operation", ["get", "get_many", "get_document", "save", "delete", "changes_since"])
async def test_connections_ended_by_the_server_between_uses_are_not_noticed(database_url: str, engine: AsyncEngine, operation: str) -> None:
    name = f"test-{new_id().hex[:12]}"
    several = create_engine(database_url, PostgresPolicy(pool_size=3))
    sa.event.listen(
        several.sync_engine, "connect", lambda dbapi, _: dbapi.run_async(lambda c: c.execute(f"SET application_name = '{name}'"))
    )
    try:
        repository = PostgresSessionAnalyticsRepository(several)
        session_id = new_id()
        await repository.save(edition(session_id, 1))
        await asyncio.gather(*(repository.get(session_id) for _ in range(3)))
        await terminate(engine, name)
        if operation == "get":
            answer = await repository.get(session_id)
            assert answer is not None
            assert number_of(answer.analytics) == 1
        elif operation == "get_many":
            assert (await repository.get_many([session_id])).keys() == {session_id}
        elif operation == "get_document":
            assert await repository.get_document(session_id) is not None
        elif operation == "save":
            receipt = await repository.save(edition(session_id, 2))
            assert (receipt.version, receipt.changed) == (2, True)
        elif operation == "delete":
            deleted = await repository.delete(session_id)
            assert deleted is not None
            assert deleted.version == 2
        else:
            assert (await repository.changes_since(None)).position > 0
    finally:
        await several.dispose()


@pytest.mark.parametrize("operation", ["find", "register", "recent"])
async def test_the_registry_does_not_notice_them_either(database_url: str, engine: AsyncEngine, operation: str) -> None:
    name = f"test-{new_id().hex[:12]}"
    several = create_engine(database_url, PostgresPolicy(pool_size=3))
    sa.event.listen(
        several.sync_engine, "connect", lambda dbapi, _: dbapi.run_async(lambda c: c.execute(f"SET application_name = '{name}'"))
    )
    try:
        registry, session = PostgresSessionRegistry(several), some_session()
        await registry.register(session)
        await terminate(engine, name)
        if operation == "find":
            assert await registry.find(session.session_id) == session
        elif operation == "register":
            assert await registry.register(session) == session
        else:
            assert len(await registry.recent(1)) == 1
    finally:
        await several.dispose()


async def test_a_cancelled_caller_does_not_poison_its_connection(line: Line, engine: AsyncEngine) -> None:
    repository, session_id = line.repository, new_id()
    await repository.save(edition(session_id, 1))
    async with engine.begin() as other:
        await other.execute(sa.text("SELECT 1 FROM session_analytics WHERE session_id = :id FOR UPDATE"), {"id": session_id})
        saving = asyncio.create_task(repository.save(edition(session_id, 2)))
        await asyncio.sleep(0.05)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
    answer = await repository.get(session_id)
    assert answer is not None
    assert number_of(answer.analytics) == 1
    assert (await repository.save(edition(session_id, 3))).version == 2
