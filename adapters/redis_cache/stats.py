"""What the cache counts: plain integers in the process, added up over processes in one Redis hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from adapters.redis_cache.entry import HEADER_BYTES, Entry
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.server import CacheServer, Unavailable

COUNTS: Final = (
    "near_hits", "hits", "absent_hits", "followed", "coalesced", "misses", "bypasses", "fills", "fills_refused",
    "damaged", "too_large", "invalidations",
    "invalidations_lost", "stale_answers", "bytes_stored",
)  # fmt: skip


class CacheStats:
    """Counts of one process since it began, by name.

    - near_hits: answered from the process's own copies; hits: answered from Redis; absent_hits: of those, "there is nothing".
    - followed: answered from what another process stored meanwhile; coalesced: from what another caller in this process was loading.
    - misses: the truth was asked, because Redis did not have it; bypasses, bypasses_REASON: because Redis could not be used.
    - stale_answers: served past their promise, because the truth failed.
    - fills, fills_refused: stored, and not stored because somebody wrote meanwhile or Redis failed; bytes_stored: headers and payloads.
    - damaged: keys that held no entry; too_large: documents above the limit.
    - invalidations, invalidations_lost: writes that Redis acknowledged, and those left to the relay.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._shared: Counter[str] = Counter()

    def count(self, name: str, times: int = 1) -> None:
        """Counts what needs no more than a name."""
        self._counts[name] += times

    def hit(self, entry: Entry, *, followed: bool = False) -> None:
        """Redis answered, at once or after another reader had filled."""
        self._counts["followed" if followed else "hits"] += 1
        if entry.payload is None:
            self._counts["absent_hits"] += 1

    def bypassed(self, reason: str, reads: int = 1) -> None:
        """Redis could not be used for so many reads, for this reason."""
        self._counts["bypasses"] += reads
        self._counts[f"bypasses_{reason}"] += reads

    def filled(self, entries: Sequence[Entry], accepted: Sequence[bool]) -> None:
        """Entries were offered for storing."""
        for entry, stored in zip(entries, accepted, strict=True):
            self._counts["fills" if stored else "fills_refused"] += 1
            if stored:
                self._counts["bytes_stored"] += HEADER_BYTES + len(entry.payload or b"")

    def invalidated(self, acknowledged: bool) -> None:
        """A write told Redis, or could not."""
        self._counts["invalidations" if acknowledged else "invalidations_lost"] += 1

    def counts(self) -> dict[str, int]:
        """The counts so far."""
        return dict(self._counts)

    async def share(self, server: CacheServer, keys: Keys) -> None:
        """Adds what was counted since the last time to the totals of all processes. If Redis fails, next time."""
        now = Counter(self.counts())
        news = now - self._shared
        if news:
            added = await server.add_to_hash(keys.counters, news)
            if not isinstance(added, Unavailable):
                self._shared = now


def hit_rate(counts: Mapping[str, int]) -> float | None:
    """The share of reads that a cache answered, 0 to 1; None before the first read."""
    answered = sum(counts.get(name, 0) for name in ("near_hits", "hits", "followed", "coalesced"))
    reads = answered + counts.get("misses", 0) + counts.get("bypasses", 0)
    return answered / reads if reads else None
