"""What is slow and fails on demand does so as told, and not otherwise."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.chaos import CALM, Chaos, ChaosSessionAnalyticsRepository
from adapters.memory import MemorySessionAnalyticsRepository
from domain.errors import InvalidSettings, StorageUnavailable
from domain.ports import ChangeFeed, Freshness, SessionAnalyticsRepository
from tests.strategies import edition, new_id, number_of


class Hands:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


def disturbed(chaos: Chaos, *, seed: int = 1, hands: Hands | None = None) -> tuple[ChaosSessionAnalyticsRepository, Any]:
    hands, inner = hands or Hands(), MemorySessionAnalyticsRepository()
    dice = random.Random(seed).random
    return ChaosSessionAnalyticsRepository(inner, chaos, dice=dice, clock=hands.clock, sleep=hands.sleep), inner


def every_call(repository: ChaosSessionAnalyticsRepository) -> dict[str, Callable[[], Awaitable[object]]]:
    session_id = new_id()
    return {
        "get": lambda: repository.get(session_id),
        "get_many": lambda: repository.get_many([session_id]),
        "get_document": lambda: repository.get_document(session_id),
        "save": lambda: repository.save(edition(session_id, 1)),
        "delete": lambda: repository.delete(session_id),
        "store_id": repository.store_id,
        "changes_since": lambda: repository.changes_since(None),
        "versions_of": lambda: repository.versions_of([session_id]),
    }


async def fates(repository: ChaosSessionAnalyticsRepository, times: int) -> list[bool]:
    """Which of so many calls failed."""
    failed = []
    for _ in range(times):
        before = repository.failures
        try:
            await repository.store_id()
        except StorageUnavailable:
            assert repository.failures == before + 1
        failed.append(repository.failures > before)
    return failed


async def test_calm_it_passes_everything_on_and_never_waits() -> None:
    hands = Hands()
    repository, inner = disturbed(CALM, hands=hands)
    session_id = new_id()
    saved = await repository.save(edition(session_id, 1))
    assert (saved.version, saved.changed) == (1, True)
    for freshness in Freshness:
        for read in (repository, inner):
            answer = await read.get(session_id, freshness=freshness, at_least=1)
            assert answer is not None
            assert number_of(answer.analytics) == 1
        assert await repository.get_many([session_id], freshness=freshness) == await inner.get_many([session_id])
        assert await repository.get_document(session_id, freshness=freshness) == await inner.get_document(session_id)
    assert await repository.store_id() == await inner.store_id()
    assert await repository.changes_since(0) == await inner.changes_since(0)
    assert await repository.versions_of([session_id]) == {session_id: 1}
    deleted = await repository.delete(session_id)
    assert deleted is not None
    assert deleted.version == 2
    assert await inner.get(session_id) is None
    assert (hands.slept_s, repository.failures) == ([], 0)


async def test_every_call_fails_where_all_shall_and_nothing_is_done() -> None:
    repository, inner = disturbed(Chaos(failure_rate=1.0))
    for name, call in every_call(repository).items():
        with pytest.raises(StorageUnavailable, match="on purpose"):
            await call()
        assert (await inner.changes_since(0)).changes == (), name
    assert repository.failures == 8


async def test_what_is_done_although_its_answer_is_lost_is_done() -> None:
    repository, inner = disturbed(Chaos(lost_answer_rate=1.0))
    session_id = new_id()
    with pytest.raises(StorageUnavailable):
        await repository.save(edition(session_id, 1))
    assert await inner.versions_of([session_id]) == {session_id: 1}
    with pytest.raises(StorageUnavailable):
        await repository.delete(session_id)
    assert await inner.get(session_id) is None


async def test_a_share_of_the_calls_fails() -> None:
    repository, _ = disturbed(Chaos(failure_rate=0.2, lost_answer_rate=0.5))
    failed = await fates(repository, 2_000)
    assert 0.55 < sum(failed) / len(failed) < 0.65  # One in five before, and half of the others after.


async def test_the_same_seed_is_the_same_fate() -> None:
    chaos = Chaos(failure_rate=0.3)
    one, same, other = [await fates(disturbed(chaos, seed=seed)[0], 100) for seed in (7, 7, 8)]
    assert one == same
    assert one != other


async def test_more_latency_does_not_change_who_fails() -> None:
    slow, quick = [await fates(disturbed(Chaos(failure_rate=0.3, latency_s=s))[0], 100) for s in (0.5, 0.0)]
    assert slow == quick


async def test_every_call_is_late_by_a_random_share_of_the_latency() -> None:
    hands = Hands()
    repository, _ = disturbed(Chaos(latency_s=2.0), hands=hands)
    for call in every_call(repository).values():
        await call()
    assert len(set(hands.slept_s)) == 8
    assert all(0 <= slept_s <= 2.0 for slept_s in hands.slept_s)


async def test_an_outage_begins_and_ends_when_it_is_told_to() -> None:
    hands = Hands()
    repository, _ = disturbed(Chaos(outages_s=((10, 20), (30, 31))), hands=hands)
    out = []
    for second in range(40):
        hands.now_s = 1000.0 + second
        if (await fates(repository, 1))[0]:
            out.append(second)
    assert out == [*range(10, 20), 30]


async def test_chaos_begins_and_ends_at_any_time() -> None:
    repository, _ = disturbed(CALM)
    for chaos, failing in ((CALM, False), (Chaos(failure_rate=1.0), True), (CALM, False)):
        repository.chaos = chaos
        assert await fates(repository, 3) == [failing] * 3


async def test_another_feed_may_be_given_and_without_any_its_methods_say_so() -> None:
    other = MemorySessionAnalyticsRepository()
    repository = ChaosSessionAnalyticsRepository(MemorySessionAnalyticsRepository(), feed=other)
    assert await repository.store_id() == await other.store_id()
    assert isinstance(repository, ChangeFeed)
    assert isinstance(repository, SessionAnalyticsRepository)
    no_feed: Any = object()
    with pytest.raises(TypeError, match="object is no change feed"):
        await ChaosSessionAnalyticsRepository(no_feed).store_id()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"latency_s": -1.0}, "CHAOS_LATENCY_MS"), ({"latency_s": float("nan")}, "CHAOS_LATENCY_MS"),
        ({"latency_s": float("inf")}, "CHAOS_LATENCY_MS"), ({"failure_rate": 1.1}, "CHAOS_FAILURE_RATE"),
        ({"failure_rate": -0.1}, "CHAOS_FAILURE_RATE"), ({"lost_answer_rate": float("nan")}, "CHAOS_FAILURE_RATE"),
        ({"outages_s": ((2.0, 1.0),)}, "outage"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidSettings, match=named):
        Chaos(**given)
