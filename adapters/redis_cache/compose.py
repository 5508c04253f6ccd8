"""Puts the parts of the cache together; the container calls this."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.redis_cache.address import server_at
from adapters.redis_cache.breaker import BREAKER_STATES
from adapters.redis_cache.cluster import ClusterServer
from adapters.redis_cache.cluster_reads import PartitionReads
from adapters.redis_cache.codec import Codec
from adapters.redis_cache.keys import check_prefix, slot_of
from adapters.redis_cache.leases import Leases
from adapters.redis_cache.lookup import Lookup
from adapters.redis_cache.lua import Scripts
from adapters.redis_cache.near import NearCache
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.reads import CoalescedReads
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.sampler import StalenessSampler
from adapters.redis_cache.server import CacheServer
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.redis_cache.stats import CacheStats
from domain.ports import ChangeFeed, SessionAnalyticsRepository


def cached(
    inner: SessionAnalyticsRepository, feed: ChangeFeed, *, redis_url: str, key_prefix: str, policy: CachePolicy
) -> RedisCachedSessionAnalyticsRepository:
    """The cache over `inner`, told of writes by `feed`; to be opened. Raises InvalidSettings for a URL or a prefix that cannot be used."""
    check_prefix(key_prefix)  # Now, and not when the truth has first told its identity.
    scripts, stats, near = Scripts.load(), CacheStats(), NearCache(policy)
    server = server_at(redis_url, policy, stats)
    stats.gauge("breaker_state", lambda: BREAKER_STATES.index(server.breaker_state))
    stats.gauge("near_entries", lambda: len(near))
    stats.gauge("near_bytes", lambda: near.bytes_held)
    relay, leases = Relay(feed, server, scripts, key_prefix, policy, stats=stats), Leases(server, scripts, policy)
    return RedisCachedSessionAnalyticsRepository(
        inner,
        server=server,
        lookup=Lookup(relay, _reads(server, policy, stats), near, leases, stats),
        relay=relay,
        leases=leases,
        codec=Codec(policy, stats),
        policy=policy,
        stats=stats,
        near=near,
        sampler=StalenessSampler(feed, server, near, policy, stats),
    )


def _reads(server: CacheServer | ClusterServer, policy: CachePolicy, stats: CacheStats) -> Sequence[CoalescedReads]:
    """One for each partition."""
    if isinstance(server, ClusterServer):
        return [PartitionReads(server, slot_of(partition, policy.partitions), policy, stats) for partition in range(policy.partitions)]
    return [CoalescedReads(server.client, server.breaker, policy, stats) for _ in range(policy.partitions)]
