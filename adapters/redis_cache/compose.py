"""Puts the parts of the cache together; the container calls this."""

from __future__ import annotations

from typing import Final

from adapters.redis_cache.breaker import Breaker, BreakerState
from adapters.redis_cache.codec import Codec
from adapters.redis_cache.keys import check_prefix
from adapters.redis_cache.leases import Leases
from adapters.redis_cache.lookup import Lookup
from adapters.redis_cache.near import NearCache
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.reads import CoalescedReads
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.sampler import StalenessSampler
from adapters.redis_cache.server import CacheServer, Scripts, create_client
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.redis_cache.stats import CacheStats
from domain.ports import ChangeFeed, SessionAnalyticsRepository

# As a number, for the gauge: how far the breaker is from letting everybody ask.
BREAKER_STATES: Final = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)


def cached(
    inner: SessionAnalyticsRepository, feed: ChangeFeed, *, redis_url: str, key_prefix: str, policy: CachePolicy
) -> RedisCachedSessionAnalyticsRepository:
    """The cache over `inner`, told of writes by `feed`; to be opened. Raises InvalidSettings for a URL or a prefix that cannot be used."""
    check_prefix(key_prefix)  # Now, and not when the truth has first told its identity.
    scripts, stats, near = Scripts.load(), CacheStats(), NearCache(policy)
    client, breaker = create_client(redis_url, policy), Breaker(policy.failures_to_open, policy.open_s, on_change=stats.breaker_is)
    server = CacheServer(client, policy, breaker, stats)
    stats.gauge("breaker_state", lambda: BREAKER_STATES.index(breaker.state))
    stats.gauge("near_entries", lambda: len(near))
    stats.gauge("near_bytes", lambda: near.bytes_held)
    relay, leases = Relay(feed, server, scripts, key_prefix, policy, stats=stats), Leases(server, scripts, policy)
    reads = [CoalescedReads(client, breaker, policy, stats) for _ in range(policy.partitions)]
    return RedisCachedSessionAnalyticsRepository(
        inner,
        server=server,
        lookup=Lookup(relay, reads, near, leases, stats),
        relay=relay,
        leases=leases,
        codec=Codec(policy, stats),
        policy=policy,
        stats=stats,
        near=near,
        sampler=StalenessSampler(feed, server, near, policy, stats),
    )
