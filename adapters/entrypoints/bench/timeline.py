"""What a load felt over time: in buckets, and how long until all was as before."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.entrypoints.bench.open_loop import Call

HITS: Final = frozenset({"near", "redis", "cache"})
_AS_BEFORE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Bucket:
    """A short while, from `at_s` on. Latencies are of reads that fell due in it, None if none did; what was answered counts when it was.

    hits_share: of those reads, how many a cache answered.
    """

    at_s: float
    answered_per_s: float
    errors: int
    hits_share: float
    p99_ms: float | None
    longest_ms: float | None


def quantile(values: Sequence[float], share: float) -> float | None:
    """The least value that is not below so large a share of them; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def quantile_ms(calls: Sequence[Call], share: float) -> float | None:
    """What so large a share of the calls did not take longer than, in ms."""
    found = quantile([call.took_s for call in calls], share)
    return None if found is None else 1000 * found


def buckets(calls: Sequence[Call], begin_s: float, end_s: float, bucket_s: float) -> list[Bucket]:
    """The whole of the buckets between two moments, of which `at_s` counts from the first."""
    count = int(round((end_s - begin_s) / bucket_s, 6))
    due: list[list[Call]] = [[] for _ in range(count)]
    answered = [0] * count
    errors = [0] * count
    for call in calls:
        place = int((call.due_s - begin_s) // bucket_s)
        if 0 <= place < count and call.what == "read":
            due[place].append(call)
        place = int((call.ended_s - begin_s) // bucket_s)
        if 0 <= place < count:
            answered[place] += not call.error
            errors[place] += bool(call.error)
    return [
        Bucket(
            at_s=number * bucket_s,
            answered_per_s=answered[number] / bucket_s,
            errors=errors[number],
            hits_share=sum(call.source in HITS for call in reads) / max(1, len(reads)),
            p99_ms=quantile_ms(reads, 0.99),
            longest_ms=quantile_ms(reads, 1.0),
        )
        for number, reads in enumerate(due)
    ]


def full_speed_after_s(found: Sequence[Bucket], *, usual_until_s: float, back_s: float) -> float | None:
    """How long after `back_s` until a bucket has ended that answered as many calls, and as many of them from the cache, as is usual.

    Usual is the median of the buckets before `usual_until_s`; nine tenths of it are enough. None: in no bucket.
    """
    bucket_s = found[1].at_s - found[0].at_s
    before = [bucket for bucket in found if bucket.at_s + bucket_s <= usual_until_s]
    answered = _AS_BEFORE * statistics.median(bucket.answered_per_s for bucket in before)
    hits = _AS_BEFORE * statistics.median(bucket.hits_share for bucket in before)
    for bucket in found:
        if bucket.at_s >= back_s - bucket_s and bucket.answered_per_s >= answered and bucket.hits_share >= hits:
            return max(0.0, bucket.at_s + bucket_s - back_s)
    return None
