"""What operators are told of the cache: how it does, what is in it, and how one entry lies there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from adapters.redis_cache.histogram import HistogramSnapshot
from adapters.redis_cache.stats import TIERS, compression_ratio, hit_rate

Status = Literal["healthy", "degraded", "unhealthy"]

_PERCENTS: Final = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class CacheHealth:
    """healthy: answers and in step; degraded: answers, but readers go to the truth for now (`reason`); unhealthy: does not answer.

    `heartbeat_age_s` is how long ago the last pass of any process's relay began, None if that is beyond the bound; `relay_lag_s` is how
    long ago this process last knew Redis in step.
    """

    status: Status
    reason: str | None
    round_trip_ms: float | None
    heartbeat_age_s: float | None
    relay_lag_s: float | None
    breaker: str
    server: str | None


@dataclass(frozen=True, slots=True)
class CacheContents:
    """What is stored, and what all processes counted since Redis was last empty. With more keys than are looked at, `entries` is None and
    the memory an entry is from the sample. `this_process` is what cannot be added up: gauges.
    """

    entries: int | None
    sampled_entries: int
    entry_bytes_mean: float | None
    server_memory_bytes: int
    heartbeat_age_s: float | None
    counts: dict[str, int]
    histograms: dict[str, HistogramSnapshot]
    this_process: dict[str, float]

    def as_document(self) -> dict[str, Any]:
        """As plain values, with the figures that follow from the counts: rates, and percentiles by tier."""
        return {
            "entries": self.entries,
            "sampled_entries": self.sampled_entries,
            "entry_bytes_mean": self.entry_bytes_mean,
            "server_memory_bytes": self.server_memory_bytes,
            "heartbeat_age_s": self.heartbeat_age_s,
            "compression_ratio": compression_ratio(self.counts),
            "performance_stats": {"hit_rate": hit_rate(self.counts), **self.counts},
            "latencies": {tier: _percentiles(self.histograms[f"latency_{tier}_s"]) for tier in TIERS},
            "stale_ages": _percentiles(self.histograms["stale_age_s"]),
            "this_process": self.this_process,
        }


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """One session's entry as it lies in Redis. `believed`: a read would be answered with it now."""

    key: str
    found: Literal["analytics", "absent", "damaged", "nothing"]
    believed: bool
    version: int | None
    age_s: float | None
    ttl_s: float | None
    coding: str | None
    payload_bytes: int | None
    lease_s: float | None


def _percentiles(found: HistogramSnapshot) -> dict[str, float | int | None]:
    return {"count": found.count, "sum_s": found.sum_s, **{f"p{percent}_s": found.percentile_s(percent) for percent in _PERCENTS}}
