"""In trouble every answer is right, or it is a StorageError; and errors come from the truth's trouble alone, never from Redis's.

The truth fails before or after it did what it was asked, is slow or away; Redis is cut off, slow, silent or garbled. A write that failed
may have been done: the undisturbed truth is looked at after every step, so the model knows, although the caller cannot.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import document
from adapters.chaos import CALM, Chaos, ChaosSessionAnalyticsRepository
from adapters.memory import MemorySessionAnalyticsRepository
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.redis_cache.compose import cached
from domain.analytics import SessionAnalytics
from domain.errors import StorageError
from domain.ports import AnalyticsAnswer, DocumentAnswer, Freshness, SessionAnalyticsRepository
from domain.session import SessionId
from tests.contracts.conftest import QUICK
from tests.patience import eventually
from tests.strategies import edition, examples, new_id, number_of
from tests.trouble import MODES, Mode, TroubledProxy

SESSIONS: Final = 3
CHAOS: Final = {
    "calm": CALM,
    "failing": Chaos(failure_rate=0.5),
    "losing answers": Chaos(lost_answer_rate=0.5),
    "slow": Chaos(latency_s=0.002),
    "all of it": Chaos(latency_s=0.002, failure_rate=0.2, lost_answer_rate=0.2),
    "away": Chaos(outages_s=((0.0, 1e9),)),
}
# No copy is trusted unasked, so every read is held to what was vouched for, BOUNDED ones too.
POLICY: Final = replace(QUICK, near_trust_s=0.0, batch_max=2)

# Long enough for the relay to pass, so that Redis is used again before the next trouble.
PAUSE_S: Final = 0.1

How = Literal["fresh", "bounded", "at least", "document", "many"]
HOW: Final[tuple[How, ...]] = ("fresh", "bounded", "at least", "document", "many")
Step = tuple[str, Any, Any]

session = st.integers(0, SESSIONS - 1)
steps = st.lists(
    st.tuples(st.just("save"), session, st.integers(0, 4))
    | st.tuples(st.just("delete"), session, st.none())
    | st.tuples(st.just("read"), session, st.sampled_from(HOW))
    | st.tuples(st.just("together"), session, st.integers(0, 4))
    | st.tuples(st.just("chaos"), st.sampled_from(sorted(CHAOS)), st.none())
    | st.tuples(st.just("redis"), st.sampled_from(MODES), st.none())
    | st.tuples(st.just("pause"), st.none(), st.none()),
    max_size=25,
)


def many_steps(dice: random.Random, count: int) -> list[Step]:
    """A long run, for which it can be told what must have happened."""
    kinds: list[Step] = []
    for _ in range(count):
        which = dice.randrange(SESSIONS)
        kinds.append(
            dice.choices(
                [
                    ("save", which, dice.randrange(5)),
                    ("delete", which, None),
                    ("read", which, dice.choice(HOW)),
                    ("together", which, dice.randrange(5)),
                    ("chaos", dice.choice([*["calm"] * 5, *sorted(CHAOS)]), None),
                    ("redis", dice.choice([*["well"] * 5, *MODES]), None),
                    ("pause", None, None),
                ],
                weights=[3, 1, 6, 2, 1, 1, 1],
            )[0]
        )
    return kinds


@dataclass
class Trial:
    """A composition in trouble, and what is known of its truth."""

    truth: Any
    chaos: ChaosSessionAnalyticsRepository
    repository: SessionAnalyticsRepository
    proxy: TroubledProxy | None
    session_ids: list[SessionId] = field(default_factory=list)
    history: dict[SessionId, dict[int, int | None]] = field(default_factory=dict)
    vouched: dict[SessionId, int] = field(default_factory=dict)
    happened: Counter[str] = field(default_factory=Counter)

    async def run(self, steps: Sequence[Step]) -> None:
        self.session_ids = [new_id() for _ in range(SESSIONS)]
        self.history = {session_id: {0: None} for session_id in self.session_ids}
        self.vouched = dict.fromkeys(self.session_ids, 0)
        self.happened.clear()
        for what, which, how in steps:
            match what:
                case "chaos":
                    self.chaos.chaos = CHAOS[which]
                case "redis":
                    self.disturb(which)
                case "pause":
                    await asyncio.sleep(PAUSE_S)
                case "together":
                    session_id = self.session_ids[which]
                    reads = [self.read(session_id, each) for each in HOW for _ in range(2)]
                    await asyncio.gather(*reads[:5], self.write(session_id, how), *reads[5:])
                case "read":
                    await self.read(self.session_ids[which], how)
                case _:
                    await self.write(self.session_ids[which], how)
        await self.recovers()

    def disturb(self, mode: Mode) -> None:
        if self.proxy is not None:
            self.proxy.set(mode)

    async def version_of(self, session_id: SessionId) -> int:
        """The undisturbed truth; what it contains goes to the history."""
        answer = await self.truth.get(session_id)
        version = (await self.truth.versions_of([session_id])).get(session_id, 0)
        self.history[session_id][version] = None if answer is None else number_of(answer.analytics)
        return int(version)

    async def write(self, session_id: SessionId, number: int | None) -> None:
        """Saves, or deletes if there is no number."""
        before = await self.version_of(session_id)
        receipt: Any = None
        try:
            if number is None:
                receipt = await self.repository.delete(session_id)
            else:
                receipt = await self.repository.save(edition(session_id, number))
        except StorageError:
            self.failed()
            after = await self.version_of(session_id)
            assert after - before in {0, 1}
            self.happened["done all the same"] += after - before
            return
        after = await self.version_of(session_id)
        assert self.history[session_id][after] == number
        if receipt is None:
            assert (number, after) == (None, before)
        else:
            assert (receipt.version, getattr(receipt, "changed", True)) == (after, after > before)
            if receipt.fresh:
                self.vouched[session_id] = after
            self.happened["vouched for" if receipt.fresh else "not vouched for"] += 1

    async def read(self, session_id: SessionId, how: How) -> None:
        vouched, newest = dict(self.vouched), max(self.history[session_id])
        checks: list[tuple[SessionId, int, AnalyticsAnswer | DocumentAnswer | None]]
        try:
            if how == "many":
                found = await self.repository.get_many([*self.session_ids, new_id(), session_id])
                assert found.keys() <= set(self.session_ids)
                checks = [(each, vouched[each], found.get(each)) for each in self.session_ids]
            elif how == "document":
                body = await self.repository.get_document(session_id)
                checks = [(session_id, vouched[session_id], body)]
            elif how == "at least":
                checks = [(session_id, newest, await self.repository.get(session_id, at_least=newest))]
            else:
                checks = [(session_id, vouched[session_id], await self.repository.get(session_id, freshness=Freshness(how)))]
        except StorageError:
            self.failed()
            return
        for each, at_least, answer in checks:
            await self.version_of(each)  # A write that is under way may be seen already.
            self.check(each, at_least, answer)

    def check(self, session_id: SessionId, at_least: int, answer: AnalyticsAnswer | DocumentAnswer | None) -> None:
        history = self.history[session_id]
        if answer is None:
            self.happened["nothing"] += 1
            assert any(content is None for version, content in history.items() if version >= at_least), "nothing, though it was never gone"
            return
        self.happened[answer.source] += 1
        assert answer.version >= at_least
        assert not answer.stale
        analytics = answer.analytics if isinstance(answer, AnalyticsAnswer) else plain(answer)
        assert history[answer.version] == number_of(analytics)

    def failed(self) -> None:
        self.happened["errors"] += 1
        assert self.chaos.chaos != CALM, "an error, though the truth was well"

    async def recovers(self) -> None:
        """All is well again: without anybody's doing, every answer is the truth's, and the cache is used."""
        self.chaos.chaos = CALM
        self.disturb("well")
        for session_id in self.session_ids:
            version = await self.version_of(session_id)
            for freshness in Freshness:

                async def ask(session_id: SessionId = session_id, freshness: Freshness = freshness) -> tuple[int, int | None] | None:
                    answer = await self.repository.get(session_id, freshness=freshness)
                    return None if answer is None else (answer.version, number_of(answer.analytics))

                number = self.history[session_id][version]
                expected = None if number is None else (version, number)
                await eventually(ask, lambda found, expected=expected: found == expected)  # type: ignore[misc]
        if self.proxy is not None:
            probe = edition(new_id(), 1)
            await self.repository.save(probe)

            async def source() -> str | None:
                answer = await self.repository.get(probe.session_id)
                return None if answer is None else answer.source

            await eventually(source, lambda name: name == "redis")


def plain(body: DocumentAnswer) -> SessionAnalytics:
    raw = zstandard.ZstdDecompressor().decompress(body.body) if body.coding == "zstd" else body.body
    return document.decode(raw, of="the test")


@pytest.fixture(params=[cache + truth for cache in ("chaos over ", "redis over chaos over ") for truth in ("memory", "postgres")])
async def trial(request: pytest.FixtureRequest, engine: AsyncEngine, redis_url: str, redis_prefix: str) -> AsyncIterator[Trial]:
    """Each composition."""
    name: str = request.param
    truth: Any = PostgresSessionAnalyticsRepository(engine) if name.endswith("postgres") else MemorySessionAnalyticsRepository()
    chaos = ChaosSessionAnalyticsRepository(truth, dice=random.Random(1).random)
    if "redis" not in name:
        yield Trial(truth, chaos, chaos, None)
        return
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(TroubledProxy.to_redis(redis_url))
        cache = cached(chaos, chaos, redis_url=proxy.redis_url, key_prefix=redis_prefix, policy=POLICY)
        await cache.open()
        stack.push_async_callback(cache.aclose)
        yield Trial(truth, chaos, cache, proxy)


@given(steps=steps)
@examples(25)
async def test_every_answer_is_right_or_an_error_of_the_truth(trial: Trial, steps: list[Step]) -> None:
    await trial.run(steps)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_long_run_meets_every_trouble_and_stays_right(trial: Trial, seed: int) -> None:
    await trial.run(many_steps(random.Random(seed), 300))
    met = {"errors", "done all the same", "vouched for", "nothing"}
    if trial.proxy is not None:
        met |= {"not vouched for", "redis"}
    assert met <= trial.happened.keys(), trial.happened
    assert trial.chaos.failures > 0
