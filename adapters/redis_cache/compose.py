"""Puts the parts of the cache together; the container calls this."""

from __future__ import annotations

from adapters.redis_cache.breaker import Breaker
from adapters.redis_cache.codec import Codec
from adapters.redis_cache.keys import check_prefix
from adapters.redis_cache.leases import Leases
from adapters.redis_cache.near import NearCache
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.reads import CoalescedReads
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.server import CacheServer, Scripts, create_client
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.redis_cache.stats import CacheStats
from domain.ports import ChangeFeed, SessionAnalyticsRepository


def cached(
    inner: SessionAnalyticsRepository, feed: ChangeFeed, *, redis_url: str, key_prefix: str, policy: CachePolicy
) -> RedisCachedSessionAnalyticsRepository:
    """The cache over `inner`, told of writes by `feed`; to be opened. Raises InvalidSettings for a URL or a prefix that cannot be used."""
    check_prefix(key_prefix)  # Now, and not when the truth has first told its identity.
    scripts = Scripts.load()
    client, breaker = create_client(redis_url, policy), Breaker(policy.failures_to_open, policy.open_s)
    server = CacheServer(client, policy, breaker)
    return RedisCachedSessionAnalyticsRepository(
        inner,
        server=server,
        scripts=scripts,
        reads=CoalescedReads(client, breaker, policy),
        relay=Relay(feed, server, scripts, key_prefix, policy),
        leases=Leases(server, scripts, policy),
        codec=Codec(policy),
        policy=policy,
        stats=CacheStats(),
        near=NearCache(policy),
    )
