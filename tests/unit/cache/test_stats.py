"""What is counted, under a clock of the test's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from adapters.redis_cache.breaker import BreakerState
from adapters.redis_cache.entry import Entry
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.stats import (
    COUNTS,
    HISTOGRAMS,
    NEAR_TIMED_EVERY,
    CacheStats,
    compression_ratio,
    hit_rate,
    totals,
)
from domain.errors import StorageError, StorageNotReady, StorageRefused, StorageUnavailable, StoredDataInvalid
from tests.strategies import new_id


@dataclass
class Clock:
    now_s: float = 50.0

    def __call__(self) -> float:
        return self.now_s


class SharedHash:
    """Adds, like the hash in Redis, or is away."""

    def __init__(self) -> None:
        self.integers: dict[str, int] = {}
        self.away = False

    async def add_to_hash(self, name: str, counts: Any) -> Any:
        if self.away:
            return Unavailable("timeout")
        for field, count in counts.items():
            self.integers[field] = self.integers.get(field, 0) + count
        return []


KEYS = Keys("prefix:{0}")


def test_a_snapshot_has_every_name_before_anything_happened() -> None:
    snapshot = CacheStats().snapshot()
    assert snapshot.counters == dict.fromkeys(COUNTS, 0)
    assert snapshot.gauges == {}
    assert snapshot.histograms.keys() == set(HISTOGRAMS)
    assert all(histogram.count == 0 for histogram in snapshot.histograms.values())


def test_no_name_stands_for_two_things() -> None:
    assert len(set(COUNTS)) == len(COUNTS)
    assert not set(COUNTS) & set(HISTOGRAMS)


def test_one_near_hit_in_many_is_timed_and_remembered() -> None:
    clock = Clock()
    stats, session_ids = CacheStats(clock=clock), [new_id() for _ in range(3 * NEAR_TIMED_EVERY)]
    for session_id in session_ids:
        began_s = clock()
        clock.now_s += 2e-6
        stats.near_hit(session_id, began_s)
    snapshot = stats.snapshot()
    assert snapshot.counters["near_hits"] == 3 * NEAR_TIMED_EVERY
    assert snapshot.histograms["latency_near_s"].count == 3
    assert snapshot.histograms["latency_near_s"].sum_s == pytest.approx(6e-6)
    assert list(stats.recent) == session_ids[NEAR_TIMED_EVERY - 1 :: NEAR_TIMED_EVERY]


def test_near_hits_of_batches_are_counted_and_not_timed() -> None:
    stats = CacheStats()
    for _ in range(2 * NEAR_TIMED_EVERY):
        stats.near_hit(new_id(), None)
    assert stats.counts()["near_hits"] == 2 * NEAR_TIMED_EVERY
    assert stats.snapshot().histograms["latency_near_s"].count == 0
    assert len(stats.recent) == 2


def test_the_sessions_remembered_are_bounded_and_the_last() -> None:
    stats, session_ids = CacheStats(), [new_id() for _ in range(500)]
    for session_id in session_ids:
        stats.hit(Entry(session_id, 1, b"epoch---", 0, "identity", b"{}"))
    assert list(stats.recent) == session_ids[-50:]


def test_each_tier_has_its_own_times() -> None:
    clock = Clock()
    stats = CacheStats(clock=clock)
    began_s = clock()
    clock.now_s += 1e-3
    stats.took("redis", began_s)
    clock.now_s += 1e-2
    stats.took("database", began_s)
    histograms = stats.snapshot().histograms
    assert histograms["latency_redis_s"].sum_s == pytest.approx(1e-3)
    assert histograms["latency_database_s"].sum_s == pytest.approx(11e-3)
    assert histograms["latency_near_s"].count == 0


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (StorageUnavailable("x"), "database_unavailable"),
        (StorageRefused("x"), "database_refused"),
        (StorageNotReady("x"), "database_not_ready"),
        (StoredDataInvalid("x"), "database_invalid"),
        (StorageError("x"), "database_errors"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_every_kind_of_error_of_the_truth_has_its_count(error: StorageError, name: str) -> None:
    stats = CacheStats()
    stats.database_failed(error)
    assert stats.counts() == {name: 1}


def test_every_error_of_storage_has_a_kind() -> None:
    names: set[str] = set()
    for kind in (*StorageError.__subclasses__(), StorageError):
        stats = CacheStats()
        stats.database_failed(kind("x"))
        names |= stats.counts().keys()
    assert len(names) == len(StorageError.__subclasses__()) + 1, "a new kind of StorageError needs a count of its own"
    assert names <= set(COUNTS)


def test_failures_of_redis_and_changes_of_the_breaker_have_theirs() -> None:
    stats = CacheStats()
    for reason in ("timeout", "connection", "response", "response"):
        stats.redis_failed(reason)
    for state in BreakerState:
        stats.breaker_is(state)
    counts = stats.counts()
    assert counts == {
        "redis_timeouts": 1, "redis_connection_errors": 1, "redis_refusals": 2,
        "breaker_opened": 1, "breaker_probed": 1, "breaker_closed": 1,
    }  # fmt: skip
    assert counts.keys() <= set(COUNTS)


def test_the_relays_lag_is_since_the_last_pass_began() -> None:
    clock = Clock()
    stats = CacheStats(clock=clock)
    assert stats.relay_lag_s() is None
    began_s = clock()
    clock.now_s += 0.5
    stats.passed(began_s, changes=3, new_epoch=True)
    assert stats.relay_lag_s() == 0.5
    clock.now_s += 2
    assert stats.snapshot().gauges == {"relay_lag_s": 2.5}
    stats.spared(clock())
    assert stats.relay_lag_s() == 0
    counts = stats.counts()
    assert [counts[f"relay_{name}"] for name in ("passes", "passes_spared", "changes", "epochs")] == [1, 1, 3, 1]


def test_a_gauge_is_read_when_it_is_asked_for_and_is_not_there_when_unknown() -> None:
    stats, values = CacheStats(), iter([1, None, 2.5])
    stats.gauge("depth", lambda: next(values))
    assert [stats.snapshot().gauges for _ in range(3)] == [{"depth": 1.0}, {}, {"depth": 2.5}]


def test_comparisons_are_told_apart_by_the_bound() -> None:
    stats = CacheStats()
    for outdated_s in (None, None, 0.0, 1.9, 2.1):
        stats.compared(outdated_s, 2.0)
    snapshot = stats.snapshot()
    assert [snapshot.counters[name] for name in ("sampled", "sampled_outdated", "sampled_beyond_bound")] == [5, 3, 1]
    assert snapshot.histograms["stale_age_s"].count == 3


async def test_what_is_shared_adds_up_and_nothing_is_shared_twice() -> None:
    shared: Any = SharedHash()
    clock = Clock()
    one, other = CacheStats(clock=clock), CacheStats(clock=clock)
    for stats in (one, other, one):
        stats.count("misses")
        stats.bypassed("timeout", 2)
        began_s = clock()
        clock.now_s += 0.25
        stats.took("database", began_s)
        await stats.share(shared, KEYS)
        await stats.share(shared, KEYS)
    counts, histograms = totals(shared.integers)
    assert counts == dict.fromkeys(COUNTS, 0) | {"misses": 3, "bypasses": 6, "bypasses_timeout": 6}
    assert histograms["latency_database_s"].count == 3
    assert histograms["latency_database_s"].sum_s == pytest.approx(0.75)
    assert histograms.keys() == set(HISTOGRAMS)


async def test_what_could_not_be_shared_is_shared_the_next_time() -> None:
    shared: Any = SharedHash()
    stats = CacheStats()
    stats.count("misses")
    shared.away = True
    await stats.share(shared, KEYS)
    stats.count("misses")
    shared.away = False
    await stats.share(shared, KEYS)
    assert shared.integers == {"misses": 2}


def test_the_ratio_of_compression_is_before_over_after() -> None:
    stats = CacheStats()
    assert compression_ratio(stats.counts()) is None
    stats.coded(3000, 1000)
    stats.coded(1000, 1000)
    assert compression_ratio(stats.counts()) == 2.0


def test_the_hit_rate_counts_every_way_of_being_answered_by_a_cache() -> None:
    assert hit_rate({"near_hits": 1, "hits": 1, "followed": 1, "coalesced": 1, "misses": 2, "bypasses": 2}) == 0.5
