"""Connections that a server opens before they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.entrypoints.asgi import create
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.ready import ReadyConnections
from adapters.postgres.session_analytics import READS, PostgresSessionAnalyticsRepository
from adapters.settings import load_settings
from container import resolve, running
from tests.patience import eventually
from tests.strategies import new_id

FEW = PostgresPolicy(pool_size=4, pool_wait_s=0.2, ready=3, ready_every_s=0.05)


def named(database_url: str, name: str) -> str:
    return sa.make_url(database_url).update_query_dict({"application_name": name}).render_as_string(hide_password=False)


class Pool:
    """A pool of a name that the server knows, and its connections as the server sees them."""

    def __init__(self, name: str, watching: AsyncEngine, database_url: str, policy: PostgresPolicy) -> None:
        self.engine = create_engine(named(database_url, name), policy)
        self._watching, self._name = watching, name

    async def pids(self) -> set[int]:
        found = sa.text("SELECT pid FROM pg_stat_activity WHERE application_name = :name")
        async with self._watching.connect() as connection:
            return set((await connection.execute(found, {"name": self._name})).scalars())


@pytest.fixture
async def pool(engine: AsyncEngine, database_url: str) -> AsyncIterator[Pool]:
    opened = Pool(f"ready-{new_id().hex[:12]}", engine, database_url, FEW)
    yield opened
    await opened.engine.dispose()


async def test_they_are_open_and_the_reads_are_prepared(pool: Pool) -> None:
    prepared: list[str] = []
    await ReadyConnections(pool.engine, READS, FEW).make_ready()
    assert len(await pool.pids()) == FEW.ready

    before = await pool.pids()
    repository = PostgresSessionAnalyticsRepository(pool.engine)
    await asyncio.gather(*(repository.get(new_id()) for _ in range(FEW.ready)))
    assert await pool.pids() == before
    async with AsyncExitStack() as held:
        for _ in range(FEW.ready):
            connection = await held.enter_async_context(pool.engine.connect())
            prepared += (await connection.execute(sa.text("SELECT statement FROM pg_prepared_statements"))).scalars()
    assert sum("session_analytics.document" in statement for statement in prepared) == FEW.ready * len(READS)


async def test_what_is_in_use_counts_and_nothing_is_waited_for(pool: Pool) -> None:
    ready = ReadyConnections(pool.engine, READS, FEW)
    async with AsyncExitStack() as held:
        for count in range(FEW.pool_size + 1):
            await ready.make_ready()
            assert len(await pool.pids()) == max(FEW.ready, count)
            if count < FEW.pool_size:
                await held.enter_async_context(pool.engine.connect())


async def test_no_more_than_the_pool_has(engine: AsyncEngine, database_url: str) -> None:
    policy = PostgresPolicy(pool_size=2, pool_wait_s=0.2)
    small = Pool(f"ready-{new_id().hex[:12]}", engine, database_url, policy)
    await ReadyConnections(small.engine, READS, policy).make_ready()
    assert len(await small.pids()) == 2
    await small.engine.dispose()


async def test_what_the_server_ends_is_replaced_until_it_is_closed(pool: Pool, engine: AsyncEngine) -> None:
    ready = ReadyConnections(pool.engine, READS, FEW)
    ready.begin()
    before = await eventually(pool.pids, lambda pids: len(pids) == FEW.ready)
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT pg_terminate_backend(pid) FROM unnest(CAST(:pids AS int[])) AS pid"), {"pids": [*before]})
    await eventually(pool.pids, lambda pids: len(pids) == FEW.ready and not pids & before)
    await ready.aclose()

    await pool.engine.dispose()
    await asyncio.sleep(3 * FEW.ready_every_s)
    assert await pool.pids() == set()


async def test_where_nothing_answers_it_goes_on_and_ends_at_once(closed_port: int) -> None:
    engine = create_engine(f"postgresql://nobody@127.0.0.1:{closed_port}/nothing", FEW)
    tried: list[object] = []
    sa.event.listen(engine.sync_engine, "do_connect", lambda *asked: tried.append(asked))
    ready = ReadyConnections(engine, READS, FEW)
    ready.begin()

    async def times() -> int:
        return len(tried)

    await eventually(times, lambda count: count >= 3)
    async with asyncio.timeout(5):
        await ready.aclose()
    await engine.dispose()


async def test_cancelled_while_one_opens_none_is_left_open(pool: Pool) -> None:
    for turns in range(0, 60, 3):
        ready = ReadyConnections(pool.engine, READS, FEW)
        ready.begin()
        for _ in range(turns):
            await asyncio.sleep(0.0003)
        await ready.aclose()
        await pool.engine.dispose()
    await eventually(pool.pids, lambda pids: pids == set())


async def test_a_process_that_serves_has_them_and_others_do_not(engine: AsyncEngine, database_url: str) -> None:
    name = f"ready-{new_id().hex[:12]}"
    watched = Pool(name, engine, database_url, FEW)
    settings = load_settings(database_url=named(database_url, name), cache="none", jwt_secret="s" * 32, database_pool_size=4)
    async with running(settings) as app:
        await (await resolve(app.session_analytics)).get(new_id())
        assert len(await watched.pids()) == 1
    application = create(settings)
    async with application.router.lifespan_context(application):
        await eventually(watched.pids, lambda pids: len(pids) == 4)
    assert await eventually(watched.pids, lambda pids: not pids) == set()
