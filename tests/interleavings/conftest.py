"""A stage on real servers, with processes to put on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import redis.asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository as Cached
from domain.ports import Freshness
from domain.session import SessionId
from tests.faults.history import Acknowledged, Committed, History, now_s
from tests.faults.witness import Witness
from tests.interleavings.explorer import Schedule, explore
from tests.interleavings.stage import STEP_S, HeldRedis, HeldTruth, Stage, SteppedLoop, name_script
from tests.leases import held_leases
from tests.patience import eventually
from tests.stores import engine
from tests.strategies import edition, new_id

__all__ = ["engine"]

# Whoever finds the lease taken looks again at each step, and asks the database after four. Copies in the process are kept and never
# trusted unasked, so that every read is held to what was vouched for. Nothing ends by itself.
POLICY: Final = CachePolicy(
    near_trust_s=0.0, heartbeat_s=60.0, lease_s=60.0, follow_poll_s=STEP_S, follow_s_max=4.5 * STEP_S, command_s=60.0, connect_s=60.0
)
Actors = dict[str, Callable[[], Coroutine[Any, Any, None]]]


@dataclass
class Process:
    """A cache, and what was done with it."""

    name: str
    cache: Cached
    truth: HeldTruth


@dataclass
class Play:
    """One scene, to be run in many orders."""

    redis_url: str
    database_url: str
    prefix: str
    policy: CachePolicy = POLICY
    mutate: Callable[[Cached], None] = lambda cache: None
    runner: asyncio.Runner = field(default_factory=lambda: asyncio.Runner(loop_factory=SteppedLoop))
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    stage: Stage = field(default_factory=Stage)
    processes: dict[str, Process] = field(default_factory=dict)
    session_id: SessionId = field(default_factory=new_id)
    neighbour: SessionId = field(default_factory=new_id)
    history: History = field(default_factory=History)

    async def open(self, *names: str) -> None:
        self.engine = create_engine(self.database_url, PostgresPolicy())
        self.stack.push_async_callback(self.engine.dispose)
        self.sql = PostgresSessionAnalyticsRepository(self.engine)
        self.raw: Any = redis.asyncio.Redis.from_url(self.redis_url)
        self.stack.push_async_callback(self.raw.aclose)
        for name in (*names, "the judge"):
            proxy = HeldRedis.to_redis(self.redis_url)
            assert isinstance(proxy, HeldRedis)
            proxy.stage, proxy.who = self.stage, name
            await self.stack.enter_async_context(proxy)
            truth = HeldTruth(self.sql, self.history, name, self.stage)
            cache = cached(truth, truth, redis_url=proxy.redis_url, key_prefix=self.prefix, policy=self.policy)
            self.mutate(cache)
            for script in ("acquire", "fill", "invalidate", "mark", "apply", "release"):
                name_script(getattr(cache._leases._scripts, script).sha, script)
            self.stack.push_async_callback(cache.aclose)
            await in_step(cache)  # Without `open`: passes happen when a schedule says so.
            await cache.save(edition(new_id(), 0))  # Connections are there, and scripts are known.
            self.processes[name] = Process(name, cache, truth)

    # What actors do

    def witness(self, name: str) -> Witness:
        return Witness(self.processes[name].cache, self.history, name)

    async def read(self, name: str, freshness: Freshness = Freshness.FRESH, *, times: int = 1) -> None:
        for _ in range(times):
            await self.witness(name).read(self.session_id, freshness)

    async def read_on(self, name: str) -> None:
        """A session of a user: no answer is older than the last."""
        seen = 0
        for _ in range(2):
            seen = (await self.witness(name).read(self.session_id, at_least=seen)).version

    async def read_batch(self, name: str) -> None:
        await self.witness(name).read_batch([self.session_id, self.neighbour], Freshness.FRESH)

    async def write(self, name: str, number: int) -> None:
        await self.witness(name).write(self.session_id, number)

    async def write_past_the_cache(self, name: str, number: int) -> None:
        await HeldTruth(self.sql, self.history, name, self.stage).save(edition(self.session_id, number))

    async def catch_up(self, name: str) -> None:
        """A pass of the relay. What was committed before it began is vouched for after it."""
        began_s = now_s()
        known = [event.version for event in self.history.events if isinstance(event, Committed)]
        if await self.processes[name].cache._relay.catch_up():
            self.history.note(Acknowledged(str(self.session_id), max(known), began_s, now_s(), name))

    async def write_and_catch_up(self, name: str, number: int) -> None:
        """What another program wrote, and the pass of the relay that brings it: vouched for, and not read back."""
        await self.write_past_the_cache(name, number)
        await self.catch_up(name)

    async def lose_everything(self) -> None:
        """FLUSHALL, of what is ours."""
        await self.lose("entry", "lease", "heartbeat", "position", "mark")

    async def lose(self, *kinds: str) -> None:
        """Evictions."""
        keys = self.processes["the judge"].cache._relay.partitions[0]
        assert keys is not None
        names = {kind: name(self.session_id) if callable(name := getattr(keys, kind)) else name for kind in kinds}
        await self.stage.at_once(lambda: self.raw.delete(*names.values()))

    async def cancel(self, who: str) -> None:
        self.stage.cancel(who)

    async def see_time_pass(self, name: str, number: int) -> None:
        """Writes past the cache, and reads when that has been so for longer than the bound."""
        await self.write_past_the_cache(name, number)
        await self.stage.gate(name, "lets the bound pass")
        time.sleep(self.policy.heartbeat_s + 0.03)  # noqa: ASYNC251 - nobody is to move
        await self.read(name)

    # All orders

    def explore(self, actors: Actors, *, cached_at_first: bool, preemptions_max: int = 99, schedules_max: int = 1_000) -> bool:
        """Every order of the actors' steps within the bounds; after each, all that was promised is looked at. Whether these were all."""

        async def perform(schedule: Schedule) -> None:
            self.session_id, self.neighbour = new_id(), new_id()
            self.history.events.clear()
            judge = self.processes["the judge"]
            await in_step(judge.cache)
            await judge.truth.save(edition(self.session_id, 1))
            self.history.note(Acknowledged(str(self.session_id), 1, now_s(), now_s()))
            if cached_at_first:
                await judge.cache.get(self.session_id)
            await self.stage.perform(actors, schedule)
            await self.read("the judge")
            self.history.check(bound_s=self.policy.heartbeat_s, near_trust_s=self.policy.near_trust_s)
            await self._nothing_is_left()

        def run(schedule: Schedule) -> None:
            self.runner.run(perform(schedule))

        seen = explore(run, preemptions_max=preemptions_max, schedules_max=schedules_max)
        print(seen)  # noqa: T201 - shown by -rP
        return seen.complete

    async def _nothing_is_left(self) -> None:
        for process in self.processes.values():
            await process.cache._leases.aclose()
            server: Any = process.cache._server
            assert not server.client.connection_pool._in_use_connections
        pool: Any = self.engine.pool
        assert pool.checkedout() == 0
        assert await held_leases(self.raw, self.prefix) == []


async def in_step(cache: Cached) -> None:
    """Passes until one succeeds: on a busy machine one may take longer than the bound, and comes too late."""
    await eventually(cache._relay.catch_up, bool, within_s=60.0)


@pytest.fixture
def play(engine: AsyncEngine, database_url: str, redis_url: str, redis_prefix: str) -> Iterator[Play]:
    """An empty stage."""
    play = Play(redis_url, database_url, redis_prefix)
    with play.runner:
        yield play
        play.runner.run(play.stack.aclose())
