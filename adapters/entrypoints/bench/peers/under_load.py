"""The peers as one runs them where Redis may fail: with the deadline of our cache, and with what each offers for falling back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.entrypoints.bench.peers.aiocache_ import AiocacheRedis
from adapters.entrypoints.bench.peers.cashews_ import CashewsRedis
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics

DEADLINE_S: Final = 0.1
_CONNECTIONS_MAX: Final = 64
_FAILURES: Final = (redis.RedisError, OSError, TimeoutError)


class NoCache(Peer):
    """PostgreSQL alone."""

    name = "no cache"
    how = "the same repository, without anything before it"
    documentation = "https://docs.sqlalchemy.org/en/20/orm/extensions/asyncio.html"

    async def get(self, number: int) -> SessionAnalytics | None:  # noqa: ARG002 - it holds nothing
        """Nothing."""
        return None

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """Nothing is held."""

    async def drop(self, numbers: Sequence[int]) -> None:
        """Nothing is held."""


class RedisPyAside(RedisPy):
    """Cache-aside as one writes it: what Redis raises is a miss, or a write that Redis was not told of."""

    name = "redis-py, cache-aside"
    how = (
        "socket_timeout=0.1, no retry, up to 64 connections; RedisError is caught and the database asked;"
        " a write deletes the key after its commit"
    )
    documentation = "https://redis.io/docs/latest/develop/clients/redis-py/produsage"

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        self.client = redis.Redis.from_url(
            place.redis_url,
            socket_timeout=DEADLINE_S,
            socket_connect_timeout=DEADLINE_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=_CONNECTIONS_MAX,
        )

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        try:
            return await super().get(number)
        except redis.RedisError:
            return None

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        with suppress(redis.RedisError):
            await super().put(number, analytics)

    async def drop(self, numbers: Sequence[int]) -> None:
        """See Peer."""
        with suppress(redis.RedisError):
            await super().drop(numbers)


class CashewsAside(CashewsRedis):
    """cashews over Redis."""

    name = "cashews, Redis"
    how = (
        "suppress=True (its default: errors are misses), socket_timeout=0.1, wait_for_connection_timeout=0.5, up to 64 connections;"
        " a write deletes the key after its commit"
    )
    documentation = "https://github.com/Krukov/cashews#redis"

    def set_up(self) -> None:
        """See CashewsMemory."""
        # As many connections as the others have, and the same deadline.
        self.cache.setup(
            self.place.redis_url,
            socket_timeout=DEADLINE_S,
            socket_connect_timeout=DEADLINE_S,
            wait_for_connection_timeout=0.5,
            max_connections=_CONNECTIONS_MAX,
        )


class AiocacheAside(AiocacheRedis):
    """aiocache as its decorators use it: what Redis raises is a miss; what deleting raises, the writer gets."""

    name = "aiocache, Redis"
    how = (
        "RedisCache(serializer=PickleSerializer(), timeout=0.1), up to 64 connections; errors are misses, as in its decorators;"
        " a write deletes the key after its commit"
    )
    documentation = "https://aiocache.aio-libs.org/en/latest/decorators.html"

    options: ClassVar[dict[str, Any]] = {"timeout": DEADLINE_S, "pool_max_size": _CONNECTIONS_MAX}

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        try:
            return await super().get(number)
        except _FAILURES:
            return None

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        with suppress(*_FAILURES):
            await super().put(number, analytics)


class AiocacheBriefly(AiocacheAside):
    """Left to run out: nobody tells it of writes."""

    name = "aiocache, Redis, TTL 2 s"
    how = "the same with ttl=2, the bound that our cache keeps, and without deleting on writes"

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        with suppress(*_FAILURES):
            await self.cache.set(self.key(number), analytics, ttl=2)

    async def drop(self, numbers: Sequence[int]) -> None:
        """Nobody does."""
