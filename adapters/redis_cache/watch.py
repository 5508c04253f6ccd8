"""How the cache does, for whoever watches the system's parts."""

from __future__ import annotations

from typing import Final

from adapters.redis_cache.breaker import REFUSED
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.redis_cache.stats import hit_rate
from domain.ports import PartHealth, WatchedPart

# What is told of the counts: who answered reads, and whether writes reached Redis. stats.py says what each means.
_TOLD: Final = (
    "near_hits", "hits", "absent_hits", "followed", "coalesced", "misses", "bypasses", "stale_answers", "fills", "bytes_stored",
    "invalidations", "invalidations_lost",
)  # fmt: skip


class CacheWatch(WatchedPart):
    """Whether the cache answers and is in step with the truth. The hit rate and the counts are this process's, since it began."""

    def __init__(self, repository: RedisCachedSessionAnalyticsRepository) -> None:
        self._repository = repository

    def counts(self) -> dict[str, int]:
        """What the cache of this process has counted since it began, by name."""
        return self._repository.stats.counts()

    async def look(self) -> PartHealth:
        """See the port."""
        health = await self._repository.inspection.health()
        counts = self.counts()
        rate = hit_rate(counts)
        facts: dict[str, str | int | float | None] = {
            "server": health.server,
            "breaker": health.breaker,
            "heartbeat_age_s": None if health.heartbeat_age_s is None else round(health.heartbeat_age_s, 3),
            "round_trip_ms": None if health.round_trip_ms is None else round(health.round_trip_ms, 3),
            "hit_rate": None if rate is None else round(rate, 4),
            **self._repository.inspection.bounds(),
            **{name: counts.get(name, 0) for name in _TOLD},
        }
        reasons = {
            "healthy": None,
            "degraded": f"{health.reason}; reads go to the database where Redis cannot be used",
            "unhealthy": REFUSED if health.reason == REFUSED else f"Redis: {health.reason}",
        }
        return PartHealth(health.status, reasons[health.status], facts)
