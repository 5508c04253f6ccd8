"""What REDIS_URL says: one server, a primary behind sentinels, or a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.redis_cache import cluster, sentinel
from adapters.redis_cache.breaker import Breaker, BreakerState
from adapters.redis_cache.cluster import ClusterAddress, ClusterServer
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.server import CacheServer
from adapters.redis_cache.stats import CacheStats
from domain.errors import InvalidSettings

# Each node of a cluster should have several, so that they can be spread evenly, and every partition has a price: docs/adr/0022.
_PARTITIONS_OF_A_CLUSTER: Final = 16


def partitions_at(url: str | None) -> int:
    """How many partitions there are at an address where nobody says."""
    return _PARTITIONS_OF_A_CLUSTER if url is not None and _scheme(url) in cluster.SCHEMES else 1


def server_at(url: str, policy: CachePolicy, stats: CacheStats) -> CacheServer | ClusterServer:
    """Connects at its first use. Raises InvalidSettings without repeating the URL, which may hold a password."""

    def one(url: str, on_change: Callable[[BreakerState], None] = stats.breaker_is) -> CacheServer:
        breaker = Breaker(policy.failures_to_open, policy.open_s, on_change=on_change)
        return CacheServer(create_client(url, policy), policy, breaker, stats)

    if _scheme(url) not in cluster.SCHEMES:
        return one(url)

    def node(url: str, on_open: Callable[[], None]) -> CacheServer:
        def changed(state: BreakerState) -> None:
            stats.breaker_is(state)
            if state is BreakerState.OPEN:
                on_open()

        return one(url, changed)

    try:
        return ClusterServer(ClusterAddress.parse(url), node, policy)
    except ValueError as error:
        raise InvalidSettings(f"REDIS_URL is no address of a cluster; one looks like {cluster.FORM}") from error


def create_client(url: str, policy: CachePolicy) -> redis.Redis:
    """A client of one server, or of a primary that sentinels name. Raises InvalidSettings without repeating the URL."""
    options: dict[str, Any] = {
        "max_connections": policy.connections_max,
        "timeout": policy.command_s,  # Waits for a free connection; beyond it the truth answers.
        "socket_connect_timeout": policy.connect_s,
        "socket_timeout": None,  # CacheServer's deadlines are around whole exchanges; a second timer in each would only cost.
        "retry": Retry(NoBackoff(), 0),  # The breaker decides when to try again.
        "health_check_interval": 0,
        "protocol": 3,
    }
    try:
        if _scheme(url) == sentinel.SCHEME:
            pool = sentinel.sentinel_pool(url, policy, **options)
        else:
            pool = redis.BlockingConnectionPool.from_url(url, **options)
    except (ValueError, TypeError) as error:
        raise InvalidSettings(
            "REDIS_URL is not a Redis URL; one looks like redis://user:password@host:6379/0, unix:///path, "
            f"{sentinel.FORM} or {cluster.FORM}"
        ) from error
    return redis.Redis.from_pool(pool)


def _scheme(url: str) -> str:
    return url.partition("://")[0]
