"""Every bound and choice of the cache, checked when it is built."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite
from typing import Final, Literal

from domain.errors import InvalidSettings

CodecName = Literal["zstd", "gzip", "none"]
PARTITIONS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """How long things live and how long anybody waits."""

    ttl_s: float = 24 * 3600.0
    """An entry's life in Redis; each is cut by up to `ttl_jitter` of it, so that what was filled together does not expire together."""
    ttl_jitter: float = 0.1
    absent_ttl_s: float = 60.0
    """How long "there is nothing" is remembered."""
    heartbeat_s: float = 2.0
    """The bound: without word from the truth for this long, nothing is read from Redis."""
    relay_gather_s: float = 0.02
    """How long writes told by the truth gather, at most, before the relay brings them to Redis."""
    lease_s: float = 15.0
    """How long one reader may take to load and store an entry before another may try."""
    follow_s_max: float = 0.5
    """How long a reader waits for the lease's holder before it asks the truth itself."""
    follow_poll_s: float = 0.005
    refresh_fraction: float = 0.9
    """From this share of its life on, an entry that is read is renewed in the background."""
    near_entries_max: int = 1_000
    """Decoded documents kept in the process; 0: none."""
    near_bytes_max: int = 128 * 1024 * 1024
    near_trust_s: float = 1.0
    """How long a decoded document is served without asking Redis; it adds to the bound for reads that do not ask for FRESH."""
    inner_reads_max: int = 32
    """Batches and versions read of the truth at once; more wait, up to `inner_wait_s`."""
    inner_singles_max: int = 3
    """Statements for single reads of the truth at once; who comes meanwhile gathers for the next, and waits as long at most."""
    inner_gathered_max: int = 32
    """So many gathered reads become one."""
    inner_wait_s: float = 10.0
    fail_safe_s: float = 0.0
    """If the truth itself fails: how old an answer may be that is served instead, flagged as stale. 0: none is."""
    sampler_s: float = 5.0
    """How often what is cached is compared with the truth's versions, at most once a pass of the relay; 0: never."""
    command_s: float = 0.1
    """The deadline of one exchange with Redis on an open connection."""
    connect_s: float = 1.0
    """The deadline of an exchange that has to connect first."""
    connections_max: int = 16
    partitions: int = 1
    """Parts of the cache that need not be on one server, each with its own position and heartbeat."""
    failures_to_open: int = 3
    open_s: float = 1.0
    codec: CodecName = "zstd"
    compress_from_bytes: int = 512
    off_loop_from_bytes: int = 128 * 1024
    """Documents of this size and payloads of a quarter of it are (de)compressed and decoded in a thread, so that the loop goes on."""
    document_bytes_max: int = 8 * 1024 * 1024
    """A larger document is not cached."""
    batch_max: int = 500
    """Sessions in one command; a larger batch is several."""

    @property
    def floor_ms(self) -> int:
        """How long Redis knows what version it was told: until the relay has told it once more, which a pass in the bound does."""
        return round(self.heartbeat_s * 1000)

    def __post_init__(self) -> None:
        def need(holds: bool, message: str) -> None:
            if not holds:
                raise InvalidSettings(message)

        for bound in fields(self):
            value = getattr(self, bound.name)
            need(not isinstance(value, float) or isfinite(value), f"the cache's {bound.name} must be a number, not {value}")
        need(self.ttl_s >= 1, f"DEFAULT_CACHE_TTL_HOURS must be at least a second, not {self.ttl_s} s")
        need(0 <= self.ttl_jitter < 1, f"the TTL's jitter is a fraction below 1, not {self.ttl_jitter}")
        need(0 < self.absent_ttl_s <= self.ttl_s, "CACHE_ABSENT_TTL_S must be above 0 and at most DEFAULT_CACHE_TTL_HOURS")
        need(self.heartbeat_s >= 0.2, f"CACHE_STALENESS_BOUND_S must be at least 0.2, not {self.heartbeat_s}")
        need(0 <= self.relay_gather_s < self.heartbeat_s / 3, "writes may gather for less than a third of CACHE_STALENESS_BOUND_S")
        need(0 < self.refresh_fraction <= 1, "entries are renewed after a fraction of their life, above 0 and at most 1")
        need(self.near_trust_s >= 0, f"CACHE_NEAR_TRUST_S must be at least 0, not {self.near_trust_s}")
        need(self.near_entries_max >= 0 and self.near_bytes_max > 0, "CACHE_NEAR_ENTRIES_MAX must be at least 0")
        reads = min(self.inner_reads_max, self.inner_singles_max, self.inner_gathered_max)
        need(reads >= 1 and self.inner_wait_s > 0, "at least one read of the database must be possible")
        need(self.fail_safe_s >= 0, f"CACHE_FAIL_SAFE_S must be at least 0, not {self.fail_safe_s}")
        need(self.sampler_s >= 0, f"CACHE_SAMPLER_S must be at least 0, not {self.sampler_s}")
        need(self.command_s > 0, f"REDIS_COMMAND_TIMEOUT_MS must be above 0, not {self.command_s * 1000:g}")
        need(self.connect_s >= self.command_s, "REDIS_CONNECT_TIMEOUT_MS must be at least REDIS_COMMAND_TIMEOUT_MS")
        need(self.lease_s > self.follow_s_max > self.follow_poll_s > 0, "a lease must last longer than anybody waits for its holder")
        need(self.connections_max >= 1, f"REDIS_CONNECTIONS_MAX must be at least 1, not {self.connections_max}")
        need(1 <= self.partitions <= PARTITIONS_MAX, f"CACHE_PARTITIONS must be 1 to {PARTITIONS_MAX}, not {self.partitions}")
        need(self.failures_to_open >= 1 and self.open_s > 0, "the breaker must open after at least 1 failure, for some time")
        need(min(self.document_bytes_max, self.batch_max, self.off_loop_from_bytes) > 0, "sizes must be above 0")
        need(self.compress_from_bytes >= 0, "compress_from_bytes must be at least 0 (0 to compress everything)")
