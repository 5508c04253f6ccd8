"""What the cache counts: plain integers in the process, added up over processes in one Redis hash.

Counting must cost next to nothing: a near hit takes 2 µs. So a count is one addition, a duration one search in a tuple, and of near hits,
which are the many, one in `NEAR_TIMED_EVERY` is timed.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from adapters.redis_cache.breaker import BreakerState
from adapters.redis_cache.entry import HEADER_BYTES, Entry
from adapters.redis_cache.histogram import Histogram, HistogramSnapshot, from_integers, to_integers
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.server import Exchanges, Unavailable
from domain.errors import StorageError, StorageNotReady, StorageRefused, StorageUnavailable, StoredDataInvalid
from domain.session import SessionId

COUNTS_BY_SUBJECT: Final[Mapping[str, tuple[str, ...]]] = {
    "reads": ("near_hits", "hits", "absent_hits", "followed", "coalesced", "misses", "bypasses", "stale_answers"),
    "stores": ("fills", "fills_refused", "damaged", "too_large", "bytes_stored", "document_bytes", "payload_bytes"),
    "writes": ("invalidations", "invalidations_lost"),
    "exchanges": (
        "entry_commands", "entry_keys", "header_commands", "header_keys", "reads_joined", "database_gathered",
        "redis_timeouts", "redis_connection_errors", "redis_refusals",
        "database_busy", "database_unavailable", "database_refused", "database_not_ready", "database_invalid", "database_errors",
        "breaker_opened", "breaker_probed", "breaker_closed",
    ),
    "relay": ("relay_passes", "relay_passes_spared", "relay_passes_failed", "relay_changes", "relay_epochs"),
    "sampler": ("sampled", "sampled_outdated", "sampled_beyond_bound"),
}  # fmt: skip
"""The names of what is counted, apart from the reasons of bypasses."""

COUNTS: Final = tuple(name for names in COUNTS_BY_SUBJECT.values() for name in names)

Tier = Literal["near", "redis", "database"]
TIERS: Final[tuple[Tier, ...]] = ("near", "redis", "database")
HISTOGRAMS: Final = (*(f"latency_{tier}_s" for tier in TIERS), "stale_age_s")

NEAR_TIMED_EVERY: Final = 32
_RECENT_MAX: Final = 50

_BREAKER: Final = {BreakerState.CLOSED: "breaker_closed", BreakerState.HALF_OPEN: "breaker_probed", BreakerState.OPEN: "breaker_opened"}
_REDIS_ERRORS: Final = {"timeout": "redis_timeouts", "connection": "redis_connection_errors", "response": "redis_refusals"}
_NOT_ASKED: Final = ("breaker_open", "reconnecting")
_DATABASE_ERRORS: Final[Mapping[type[StorageError], str]] = {
    StorageUnavailable: "database_unavailable",
    StorageRefused: "database_refused",
    StorageNotReady: "database_not_ready",
    StoredDataInvalid: "database_invalid",
}


@dataclass(frozen=True, slots=True)
class StatsSnapshot:
    """Everything at one moment, for whoever exports it: all values of a kind are treated alike, whatever their names.

    counters: only ever grow. gauges: what is now; one that is not known is not there. histograms: see HistogramSnapshot. Names end in
    their unit where they have one.
    """

    counters: dict[str, int]
    gauges: dict[str, float]
    histograms: dict[str, HistogramSnapshot]


class CacheStats:
    """Counts of one process since it began, by name. docs/caching.md, "What it counts", says what each means.

    To export everything, take a `snapshot`. `clock` is what moments given to its methods are by; `recent` are sessions hit lately.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.recent: deque[SessionId] = deque(maxlen=_RECENT_MAX)
        self._counts: Counter[str] = Counter()
        self._near_hits = 0
        self._histograms = {name: Histogram() for name in HISTOGRAMS}
        self._latencies = {tier: self._histograms[f"latency_{tier}_s"] for tier in TIERS}
        self._gauges: dict[str, Callable[[], float | None]] = {}
        self._in_step_at_s: float | None = None
        self._shared: Counter[str] = Counter()
        self.gauge("relay_lag_s", self.relay_lag_s)

    def count(self, name: str, times: int = 1) -> None:
        """Counts what needs no more than a name."""
        self._counts[name] += times

    def near_hit(self, session_id: SessionId, began_s: float | None) -> None:
        """A copy in the process answered a read that began then, by `clock`; None: one of many, which are not timed."""
        self._near_hits += 1
        if not self._near_hits % NEAR_TIMED_EVERY:
            self.recent.append(session_id)
            if began_s is not None:
                self._latencies["near"].observe(self.clock() - began_s)

    def hit(self, entry: Entry, *, followed: bool = False) -> None:
        """Redis answered, at once or after another reader had filled."""
        self._counts["followed" if followed else "hits"] += 1
        self.recent.append(entry.session_id)
        if entry.payload is None:
            self._counts["absent_hits"] += 1

    def took(self, tier: Tier, began_s: float) -> None:
        """A single read that began then has its answer now, from this tier."""
        self._latencies[tier].observe(self.clock() - began_s)

    def asked(self, keys: int, *, headers_only: bool) -> None:
        """A command left, for so many entries or headers."""
        self._counts["header_commands" if headers_only else "entry_commands"] += 1
        self._counts["header_keys" if headers_only else "entry_keys"] += keys

    def bypassed(self, reason: str, reads: int = 1) -> None:
        """Redis could not be used for so many reads, for this reason."""
        self._counts["bypasses"] += reads
        self._counts[f"bypasses_{reason}"] += reads

    def coded(self, document_bytes: int, payload_bytes: int) -> None:
        """A document was coded to be stored."""
        self._counts["document_bytes"] += document_bytes
        self._counts["payload_bytes"] += payload_bytes

    def filled(self, entries: Sequence[Entry], accepted: Sequence[bool]) -> None:
        """Entries were offered for storing."""
        for entry, stored in zip(entries, accepted, strict=True):
            self._counts["fills" if stored else "fills_refused"] += 1
            if stored:
                self._counts["bytes_stored"] += HEADER_BYTES + len(entry.payload or b"")

    def invalidated(self, acknowledged: bool) -> None:
        """A write told Redis, or could not."""
        self._counts["invalidations" if acknowledged else "invalidations_lost"] += 1

    def redis_failed(self, reason: str) -> None:
        """An exchange with Redis failed: timeout, connection or response."""
        self._counts[_REDIS_ERRORS[reason]] += 1

    def database_failed(self, error: StorageError) -> None:
        """A read of the truth failed."""
        self._counts[_DATABASE_ERRORS.get(type(error), "database_errors")] += 1

    def breaker_is(self, state: BreakerState) -> None:
        """The breaker has changed into this state."""
        self._counts[_BREAKER[state]] += 1

    def passed(self, began_s: float, *, changes: int = 0, new_epoch: bool = False) -> None:
        """The relay made a pass that began then."""
        self._counts["relay_passes"] += 1
        self._counts["relay_changes"] += changes
        self._counts["relay_epochs"] += new_epoch
        self._in_step_at_s = began_s

    def spared(self, began_s: float) -> None:
        """The relay looked then, and another process had just made a pass."""
        self._counts["relay_passes_spared"] += 1
        self._in_step_at_s = began_s

    def relay_lag_s(self) -> float | None:
        """How long ago this process last knew Redis in step with the truth; None if it never did."""
        return None if self._in_step_at_s is None else self.clock() - self._in_step_at_s

    def compared(self, outdated_s: float | None, bound_s: float) -> None:
        """The sampler compared what would be served with the truth; `outdated_s`: for how long at least it had been outdated."""
        self._counts["sampled"] += 1
        if outdated_s is not None:
            self._counts["sampled_outdated"] += 1
            self._counts["sampled_beyond_bound"] += outdated_s > bound_s
            self._histograms["stale_age_s"].observe(outdated_s)

    def gauge(self, name: str, read: Callable[[], float | None]) -> None:
        """Adds something to be read whenever a snapshot is taken."""
        self._gauges[name] = read

    def counts(self) -> dict[str, int]:
        """The counts so far; what was never counted is not there."""
        counts = dict(self._counts)
        if self._near_hits:
            counts["near_hits"] = self._near_hits
        return counts

    def snapshot(self) -> StatsSnapshot:
        """Everything as it is now, in this process. All of COUNTS and HISTOGRAMS are there."""
        gauges = {name: read() for name, read in self._gauges.items()}
        return StatsSnapshot(
            counters=dict.fromkeys(COUNTS, 0) | self.counts(),
            gauges={name: float(value) for name, value in gauges.items() if value is not None},
            histograms={name: histogram.snapshot() for name, histogram in self._histograms.items()},
        )

    async def share(self, server: Exchanges, *partitions: Keys) -> None:
        """Adds what was counted since the last time to the totals of all processes, which may lie in any partition: in the first one that
        can be asked. If Redis fails, next time."""
        now = Counter(self._integers())
        news = now - self._shared
        for keys in partitions if news else ():
            added = await server.add_to_hash(keys.counters, news)
            if not isinstance(added, Unavailable):
                self._shared = now
            elif added.reason in _NOT_ASKED:
                continue
            return  # Asked and not answered, it may have been done.

    def _integers(self) -> dict[str, int]:
        integers = self.counts()
        for name, histogram in self._histograms.items():
            integers |= to_integers(name, histogram.snapshot())
        return integers


def totals(integers: Mapping[str, int]) -> tuple[dict[str, int], dict[str, HistogramSnapshot]]:
    """The counts and the histograms in what all processes shared."""
    counts = {name: count for name, count in integers.items() if ":" not in name}
    return dict.fromkeys(COUNTS, 0) | counts, {name: from_integers(name, integers) for name in HISTOGRAMS}


def hit_rate(counts: Mapping[str, int]) -> float | None:
    """The share of reads that a cache answered, 0 to 1; None before the first read."""
    answered = sum(counts.get(name, 0) for name in ("near_hits", "hits", "followed", "coalesced"))
    reads = answered + counts.get("misses", 0) + counts.get("bypasses", 0)
    return answered / reads if reads else None


def compression_ratio(counts: Mapping[str, int]) -> float | None:
    """How many times smaller documents became by compression; None before the first."""
    payload_bytes = counts.get("payload_bytes", 0)
    return counts.get("document_bytes", 0) / payload_bytes if payload_bytes else None
