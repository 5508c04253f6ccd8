"""Durations in fixed buckets, each 58 % wider than the one before: from 1 µs to 10 s in 36. An observation is one search and two additions.

The same buckets everywhere and always, so that what several processes counted can be added up, and a percentile told from the sum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_STEPS_PER_DECADE: Final = 5
_DECADES: Final = 7
_LEAST_S: Final = 1e-6
_STEP: Final = 10 ** (1 / _STEPS_PER_DECADE)

BOUNDS_S: Final = tuple(float(f"{_LEAST_S * _STEP**step:.3g}") for step in range(_STEPS_PER_DECADE * _DECADES + 1))
"""The upper end of each bucket; what is longer than the last is in one more."""


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """What was observed: how often in each bucket of BOUNDS_S (and, last, beyond them), and the sum of all, in seconds."""

    counts: tuple[int, ...]
    sum_s: float

    @property
    def count(self) -> int:
        """How many observations there were."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each upper bound with the number of observations up to it, as Prometheus wants them; infinity last."""
        total = 0
        for bound_s, count in zip((*BOUNDS_S, float("inf")), self.counts, strict=True):
            total += count
            yield bound_s, total

    def percentile_s(self, percent: float) -> float | None:
        """What this share of the observations does not exceed, interpolated within its bucket; None if there are none.

        Right to within the bucket: the true value is at most 58 % above or below. Beyond the last bound it is the last bound.
        """
        wanted, total = self.count * percent / 100, 0
        for place, count in enumerate(self.counts):
            if count and total + count >= wanted:
                if place == len(BOUNDS_S):
                    return BOUNDS_S[-1]
                return float(BOUNDS_S[place] / _STEP * _STEP ** max(0.0, (wanted - total) / count))
            total += count
        return None


class Histogram:
    """Counts observations of one process since it began."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def snapshot(self) -> HistogramSnapshot:
        """What was observed so far."""
        return HistogramSnapshot(tuple(self._counts), self._sum_s)


# As integers under names of their own, for a hash that can only add integers. Buckets are named by their bounds, so that a program with
# other buckets is not misunderstood.
_SUM: Final = "sum_ns"
_BUCKETS: Final = (*(f"{bound_s:g}" for bound_s in BOUNDS_S), "inf")


def to_integers(name: str, snapshot: HistogramSnapshot) -> dict[str, int]:
    """The buckets that are not empty, and the sum, as name:bound."""
    counts = {f"{name}:{bucket}": count for bucket, count in zip(_BUCKETS, snapshot.counts, strict=True) if count}
    return counts | {f"{name}:{_SUM}": round(snapshot.sum_s * 1e9)} if counts else {}


def from_integers(name: str, integers: Mapping[str, int]) -> HistogramSnapshot:
    """What `to_integers` made, or the sum of several."""
    counts = tuple(integers.get(f"{name}:{bucket}", 0) for bucket in _BUCKETS)
    return HistogramSnapshot(counts, integers.get(f"{name}:{_SUM}", 0) / 1e9)
