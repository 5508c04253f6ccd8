"""A caller may be cancelled wherever it waits: nobody else gets its answer or its error, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, get_args

import pytest
import redis.asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.redis_cache.breaker import BreakerState
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository as Cached
from domain.ports import Freshness
from domain.session import SessionId
from tests.cache.conftest import QUIET
from tests.cache.suspensions import Moment, Suspensions, Victim, counting
from tests.leases import held_leases
from tests.patience import eventually
from tests.strategies import edition, new_id, number_of

_SUSPENSIONS_MAX: Final = 200
_NEIGHBOURS: Final = 6


@dataclass
class World:
    """A cache over PostgreSQL in which others read as well."""

    cache: Cached
    sql: PostgresSessionAnalyticsRepository
    engine: AsyncEngine
    raw: Any
    prefix: str
    neighbours: list[SessionId]

    async def stored(self, number: int = 1) -> SessionId:
        """A session that is in PostgreSQL alone."""
        session_id = new_id()
        await self.sql.save(edition(session_id, number))
        return session_id

    async def in_redis(self) -> SessionId:
        """One that is in both."""
        session_id = await self.stored()
        assert await self.cache.get(session_id) is not None
        return session_id

    async def look_around(self, before: set[asyncio.Task[Any]]) -> None:
        """After a call has ended, however it did."""

        async def tasks() -> set[asyncio.Task[Any]]:
            return {task for task in asyncio.all_tasks() if task not in before}

        await eventually(tasks, lambda left: left <= {asyncio.current_task()})
        pool: Any = self.engine.pool
        assert pool.checkedout() == 0
        server: Any = self.cache._server
        assert not server.client.connection_pool._in_use_connections
        assert await held_leases(self.raw, self.prefix) == []
        assert self.cache._server.breaker_state is BreakerState.CLOSED

    async def everybody_gets_their_own(self) -> None:
        """On every connection, the one of the reads and those of the pool."""
        numbers = dict(zip(self.neighbours, range(100, 100 + _NEIGHBOURS), strict=True))
        single = await asyncio.gather(*(self.cache.get(session_id, freshness=Freshness.FRESH) for session_id in numbers))
        assert [number_of(answer.analytics) for answer in single if answer] == list(numbers.values())
        batches = await asyncio.gather(*(self.cache.get_many([session_id]) for session_id in numbers))
        found = {session_id: number_of(answer.analytics) for batch in batches for session_id, answer in batch.items()}
        assert found == numbers

    async def is_as_the_truth_says(self, session_id: SessionId) -> None:
        """Once the relay has passed, as after a writer that died."""
        assert await self.cache._relay.catch_up()
        truth, answer = await self.sql.get(session_id), await self.cache.get(session_id, freshness=Freshness.FRESH)
        assert (answer and (answer.version, answer.analytics)) == (truth and (truth.version, truth.analytics))


@pytest.fixture
async def open_world(engine: AsyncEngine, database_url: str, redis_url: str, redis_prefix: str) -> AsyncIterator[Any]:
    """Opens a world under a policy."""
    own = create_engine(database_url, PostgresPolicy(pool_size=4))
    raw: Any = redis.asyncio.Redis.from_url(redis_url)
    worlds: list[World] = []

    async def open_world(policy: CachePolicy) -> World:
        sql = PostgresSessionAnalyticsRepository(own)
        cache = cached(sql, sql, redis_url=redis_url, key_prefix=redis_prefix, policy=policy)
        assert await cache._relay.catch_up()  # Without `open`: no relay of its own is in the way of counting.
        world = World(cache, sql, own, raw, redis_prefix, [new_id() for _ in range(_NEIGHBOURS)])
        for number, session_id in enumerate(world.neighbours):
            await cache.save(edition(session_id, 100 + number))
        worlds.append(world)
        return world

    yield open_world
    for world in worlds:
        await world.cache.aclose()
    await raw.aclose()
    await own.dispose()


Call = Callable[[World, SessionId], Awaitable[Any]]

CALLS: Final[dict[str, tuple[bool, Call]]] = {
    "get, a hit": (True, lambda world, session_id: world.cache.get(session_id)),
    "get, a miss": (False, lambda world, session_id: world.cache.get(session_id)),
    "get_document, a miss": (False, lambda world, session_id: world.cache.get_document(session_id)),
    "get_many, hits and misses": (False, lambda world, session_id: world.cache.get_many([session_id, new_id(), *world.neighbours[:2]])),
    "save": (True, lambda world, session_id: world.cache.save(edition(session_id, 2))),
    "delete": (True, lambda world, session_id: world.cache.delete(session_id)),
}


async def cancelled_or_done(task: asyncio.Task[Any]) -> None:
    """Nothing else may come of it."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def at_every_suspension(moment: Moment, victim: Victim = "the caller") -> Any:
    """One number after another; ends when the call came to its end before it was reached."""
    for at in range(1, _SUSPENSIONS_MAX):
        suspensions = Suspensions(at, moment, victim)
        yield suspensions
        if not suspensions.reached:
            assert at > 1
            return
    raise AssertionError(f"more than {_SUSPENSIONS_MAX} suspensions")


@pytest.mark.parametrize("moment", get_args(Moment))
@pytest.mark.parametrize(("is_cached", "call"), CALLS.values(), ids=CALLS.keys())
async def test_cancelling_at_any_suspension_leaves_nothing_behind(open_world: Any, moment: Moment, is_cached: bool, call: Call) -> None:
    world = await open_world(QUIET)
    with counting():
        for suspensions in at_every_suspension(moment):
            session_id = await (world.in_redis() if is_cached else world.stored())
            before = asyncio.all_tasks()

            async def work(session_id: SessionId = session_id) -> Any:
                return await call(world, session_id)

            await cancelled_or_done(suspensions.begin(work()))
            await world.look_around(before)
            await world.everybody_gets_their_own()
            await world.is_as_the_truth_says(session_id)


@pytest.mark.parametrize("moment", get_args(Moment))
@pytest.mark.parametrize("first", ["the cancelled one", "the other"])
async def test_cancelling_one_of_two_who_share_a_load_does_not_disturb_the_other(open_world: Any, moment: Moment, first: str) -> None:
    world = await open_world(QUIET)
    with counting():
        for suspensions in at_every_suspension(moment):
            session_id = await world.stored(7)
            before = asyncio.all_tasks()

            async def read(session_id: SessionId = session_id) -> Any:
                return await world.cache.get(session_id)

            if first == "the other":
                other = asyncio.create_task(read())
                cancelled = suspensions.begin(read())
            else:
                cancelled = suspensions.begin(read())
                other = asyncio.create_task(read())
            await cancelled_or_done(cancelled)
            answer = await other
            assert answer is not None
            assert number_of(answer.analytics) == 7
            await world.look_around(before)
            await world.everybody_gets_their_own()


@pytest.mark.parametrize("moment", get_args(Moment))
async def test_cancelling_a_refresh_in_the_background_leaves_the_entry_and_nothing_else(open_world: Any, moment: Moment) -> None:
    world = await open_world(QUIET)
    refreshed = 0
    with counting():
        for suspensions in at_every_suspension(moment, "whoever suspends"):
            session_id = await world.in_redis()
            before = asyncio.all_tasks()
            refreshed = world.cache.stats.counts()["fills"]
            # So much later that the entry had better be renewed.
            world.cache._answers._codec._wall_clock = lambda: time.time() + QUIET.ttl_s * 0.95

            async def read(session_id: SessionId = session_id) -> Any:
                return await world.cache.get(session_id)

            await cancelled_or_done(suspensions.begin(read()))
            await world.look_around(before)
            world.cache._answers._codec._wall_clock = time.time
            refreshed = world.cache.stats.counts()["fills"] - refreshed
            await world.is_as_the_truth_says(session_id)
    assert refreshed == 1  # At last it was not cancelled.


@pytest.mark.parametrize("moment", get_args(Moment))
async def test_closing_may_be_cancelled_anywhere_and_repeated(open_world: Any, engine: AsyncEngine, moment: Moment) -> None:
    with counting():
        for suspensions in at_every_suspension(moment):
            before = asyncio.all_tasks()
            world = await open_world(QUIET)
            await world.cache.open()
            reading = [asyncio.create_task(world.cache.get(await world.stored())) for _ in range(3)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await cancelled_or_done(suspensions.begin(world.cache.aclose()))
            await world.cache.aclose()
            await asyncio.wait(reading)
            assert all(task.cancelled() or task.result() is not None for task in reading)
            await world.look_around(before)
