"""Whatever readers, writers, the relay and accidents do in whatever order: the promises hold.

Time plays no part (the heartbeat lasts a minute), so what is looked for here is loss by order alone: a fresh read is never older than the
last write that was vouched for, and one pass of the relay leads back to the truth.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

import redis.asyncio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from adapters.memory import MemorySessionAnalyticsRepository
from adapters.redis_cache.compose import cached
from adapters.redis_cache.entry import unpack
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.leases import NOBODY
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from domain.ports import AnalyticsAnswer, Freshness
from domain.session import SessionId
from tests.cache.conftest import WatchedRepository
from tests.servers import OwnRedis
from tests.strategies import edition, new_id, number_of

PREFIX: Final = "machine"
# Copies in the process are kept, and never trusted unasked: every read is held to what was vouched for, also BOUNDED ones.
POLICY: Final = CachePolicy(
    near_trust_s=0.0, heartbeat_s=60.0, command_s=5.0, connect_s=5.0, follow_s_max=0.02, batch_max=2, connections_max=8
)
SESSIONS: Final = st.integers(0, 1)
PROCESSES: Final = st.integers(0, 1)


class CacheMachine(RuleBasedStateMachine):
    """Two processes over one truth; two sessions. Few rules of one weight each: what matters is that they follow on one another."""

    redis_url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.session_ids = [new_id() for _ in range(2)]
        self.number = 0
        # What every version of a session contains; None: nothing. And the last version that a receipt vouched for.
        self.history: dict[SessionId, dict[int, int | None]] = {session_id: {0: None} for session_id in self.session_ids}
        self.vouched = dict.fromkeys(self.session_ids, 0)
        self.slow: list[tuple[SessionId, int, asyncio.Task[AnalyticsAnswer | None]]] = []

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        self.run(self._open())

    async def _open(self) -> None:
        self.raw: Any = redis.asyncio.Redis.from_url(self.redis_url)
        await self.raw.flushall()
        self.truth = MemorySessionAnalyticsRepository()
        self.stalling = WatchedRepository(self.truth)
        self.caches: list[RedisCachedSessionAnalyticsRepository] = [self._cache(self.truth), self._cache(self.truth)]
        self.stalling_cache = self._cache(self.stalling)
        for cache in (*self.caches, self.stalling_cache):
            assert await cache._relay.catch_up()  # Without `open`: passes happen when a rule says so.
        self.keys = Keys.of(PREFIX, await self.truth.store_id())

    def _cache(self, inner: Any) -> RedisCachedSessionAnalyticsRepository:
        return cached(inner, inner, redis_url=self.redis_url, key_prefix=PREFIX, policy=POLICY)

    # Writers

    @rule(process=PROCESSES, session=SESSIONS, again=st.booleans())
    def save(self, process: int, session: int, again: bool) -> None:
        session_id = self.session_ids[session]
        self.number += not again

        async def save() -> None:
            receipt = await self.caches[process].save(edition(session_id, self.number))
            if receipt.changed:
                self.history[session_id][receipt.version] = self.number
            assert self.history[session_id][receipt.version] == self.number
            assert receipt.fresh
            self.vouched[session_id] = receipt.version

        self.run(save())

    @rule(process=PROCESSES, session=SESSIONS)
    def delete(self, process: int, session: int) -> None:
        session_id = self.session_ids[session]

        async def delete() -> None:
            receipt = await self.caches[process].delete(session_id)
            if receipt is not None:
                self.history[session_id][receipt.version] = None
                assert receipt.fresh
                self.vouched[session_id] = receipt.version

        self.run(delete())

    @rule(session=SESSIONS, deletes=st.booleans())
    def another_program_writes(self, session: int, deletes: bool) -> None:
        session_id = self.session_ids[session]
        self.number += 1
        receipt = self.run(self.truth.delete(session_id) if deletes else self.truth.save(edition(session_id, self.number)))
        if receipt is not None:
            self.history[session_id][receipt.version] = None if deletes else self.number

    # Readers

    def check(self, session_id: SessionId, answer: AnalyticsAnswer | None, at_least: int) -> None:
        history = self.history[session_id]
        if answer is None:
            assert any(content is None for version, content in history.items() if version >= at_least), "nothing, though it was never gone"
        else:
            assert answer.version >= at_least
            assert history[answer.version] == number_of(answer.analytics)

    @rule(process=PROCESSES, session=SESSIONS, how=st.sampled_from(["fresh", "bounded", "at least", "document", "many"]))
    def read(self, process: int, session: int, how: str) -> None:
        session_id, cache = self.session_ids[session], self.caches[process]
        vouched, newest = self.vouched[session_id], max(self.history[session_id])
        if how == "many":
            answers = self.run(cache.get_many([*self.session_ids, new_id(), self.session_ids[0]]))
            assert answers.keys() <= set(self.session_ids)
            for each in self.session_ids:
                self.check(each, answers.get(each), self.vouched[each])
        elif how == "document":
            found = self.run(cache.get_document(session_id))
            if found is None:
                self.check(session_id, None, vouched)
            else:
                assert found.version >= vouched
                assert self.history[session_id][found.version] is not None
        elif how == "at least":
            self.check(session_id, self.run(cache.get(session_id, at_least=newest)), newest)
        else:
            self.check(session_id, self.run(cache.get(session_id, freshness=Freshness(how))), vouched)

    @precondition(lambda self: len(self.slow) < 3)
    @rule(session=SESSIONS)
    def begin_a_slow_read(self, session: int) -> None:
        """A reader that has its answer of the truth on the way, and stands still."""
        session_id = self.session_ids[session]

        async def begin() -> None:
            self.stalling.may_answer.clear()
            self.stalling.loaded.clear()
            reading = asyncio.create_task(self.stalling_cache.get(session_id, freshness=Freshness.FRESH))
            loading = asyncio.create_task(self.stalling.loaded.wait())
            # Neither, if it joined the load of a slow reader before it.
            await asyncio.wait([reading, loading], return_when=asyncio.FIRST_COMPLETED, timeout=0.2)
            loading.cancel()
            self.slow.append((session_id, self.vouched[session_id], reading))

        self.run(begin())

    @precondition(lambda self: self.slow)
    @rule(cancelled=st.booleans())
    def end_the_slow_reads(self, cancelled: bool) -> None:
        async def end() -> None:
            if cancelled:
                self.slow[0][2].cancel()
            self.stalling.may_answer.set()
            await asyncio.wait([reading for _, _, reading in self.slow])

        self.run(end())
        for session_id, vouched, reading in self.slow:
            if not reading.cancelled():
                self.check(session_id, reading.result(), vouched)
        self.slow.clear()

    # The relay

    @rule(process=PROCESSES)
    def catch_up(self, process: int) -> None:
        async def catch_up() -> None:
            assert await self.caches[process]._relay.catch_up()
            for session_id in self.session_ids:
                truth = await self.truth.get(session_id)
                answer = await self.caches[1 - process].get(session_id)
                assert (answer and (answer.version, answer.analytics)) == (truth and (truth.version, truth.analytics))

        self.run(catch_up())

    # Accidents

    @rule(session=SESSIONS, what=st.sampled_from(["everything", "position", "heartbeat", "mark", "entry", "lease"]), spoilt=st.booleans())
    def lose(self, session: int, what: str, spoilt: bool) -> None:
        async def lose() -> None:
            if what == "everything":
                await self.raw.flushall()
                return
            key = getattr(self.keys, what)
            name = key(self.session_ids[session]) if callable(key) else key
            await self.raw.delete(name)
            if spoilt:
                await self.raw.set(name, b"not ours", px=60_000)

        self.run(lose())

    # What holds at every moment

    @invariant()
    def every_lease_and_every_entry_ends_by_itself(self) -> None:
        async def look() -> None:
            names = [name async for name in self.raw.scan_iter(match=f"{PREFIX}:*", count=1000)]
            for name in names:
                if b":l:" in name or b":e:" in name:
                    assert await self.raw.pttl(name) != -1, name  # -2: it has just gone.

        if hasattr(self, "raw"):
            self.run(look())

    @invariant()
    def no_entry_that_would_be_read_is_older_than_what_was_vouched_for(self) -> None:
        async def look() -> None:
            epoch = await self.raw.get(self.keys.heartbeat)
            for session_id in self.session_ids:
                entry = unpack(await self.raw.get(self.keys.entry(session_id)) or b"", session_id)
                if entry is None or entry.epoch != epoch:
                    continue
                if entry.payload is None:
                    self.check(session_id, None, self.vouched[session_id])
                else:
                    assert entry.version >= self.vouched[session_id]

        if hasattr(self, "raw"):
            self.run(look())

    def teardown(self) -> None:
        if hasattr(self, "caches"):
            if self.slow:
                self.end_the_slow_reads(False)
            self.run(self._close())
        self.runner.close()

    async def _close(self) -> None:
        for cache in (*self.caches, self.stalling_cache):
            await cache.aclose()
        values = [await self.raw.get(name) async for name in self.raw.scan_iter(match=f"{PREFIX}:*:l:*", count=1000)]
        assert not [value for value in values if value is not None and value != b"not ours" and not value.startswith(NOBODY)]
        await self.raw.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}


def test_no_order_of_events_breaks_a_promise(own_redis: OwnRedis) -> None:
    machine = type("Machine", (CacheMachine,), {"redis_url": own_redis.url})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
    )
