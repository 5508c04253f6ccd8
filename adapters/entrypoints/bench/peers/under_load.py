"""The peers as one runs them where Redis may fail: with the deadline of our cache, and with what each offers for falling back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis.asyncio as redis
from aiocache import RedisCache, cached
from aiocache.serializers import PickleSerializer
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.entrypoints.bench.peers.cashews_ import CashewsMemory
from adapters.entrypoints.bench.peers.peer import TTL_S, Peer
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics

DEADLINE_S: Final = 0.1
_CONNECTIONS_MAX: Final = 64


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
        try:
            await super().put(number, analytics)
        except redis.RedisError:
            return

    async def drop(self, numbers: Sequence[int]) -> None:
        """See Peer."""
        try:
            await super().drop(numbers)
        except redis.RedisError:
            return


class CashewsAside(CashewsMemory):
    """cashews over Redis."""

    name = "cashews, Redis"
    how = (
        "suppress=True (its default: errors are misses), socket_timeout=0.1, wait_for_connection_timeout=0.5, up to 64 connections;"
        " a write deletes the key after its commit"
    )
    documentation = "https://github.com/Krukov/cashews#redis"

    def set_up(self) -> None:
        """See CashewsMemory."""
        self.cache.setup(
            self.place.redis_url,
            socket_timeout=DEADLINE_S,
            socket_connect_timeout=DEADLINE_S,
            wait_for_connection_timeout=0.5,
            max_connections=_CONNECTIONS_MAX,
        )


class AiocacheAside(Peer):
    """aiocache's decorator over Redis, which takes errors for misses."""

    name = "aiocache, Redis"
    how = (
        "@cached(RedisCache, PickleSerializer, timeout=0.1), up to 64 connections: the decorator takes errors for misses;"
        " a write deletes the key after its commit"
    )
    documentation = "https://aiocache.aio-libs.org/en/latest/decorators.html"
    ttl_s = TTL_S

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        self.decorator = cached(
            ttl=self.ttl_s,
            cache=RedisCache,
            serializer=PickleSerializer(),
            namespace=f"{place.key_prefix}:aiocache",
            timeout=DEADLINE_S,
            pool_max_size=_CONNECTIONS_MAX,
            **_address(place.redis_url),
        )
        self.decorator(truth.load)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self.decorator.cache.close()

    async def get(self, number: int) -> SessionAnalytics | None:
        """As the decorator reads."""
        found: SessionAnalytics | None = await self.decorator.get_from_cache(str(number))
        return found

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """As the decorator fills."""
        await self.decorator.set_in_cache(str(number), analytics)

    async def drop(self, numbers: Sequence[int]) -> None:
        """As its documentation has it, for whoever writes: what this raises, the writer gets."""
        for number in numbers:
            await self.decorator.cache.delete(str(number))


class AiocacheBriefly(AiocacheAside):
    """Left to run out: nobody tells it of writes."""

    name = "aiocache, Redis, TTL 2 s"
    how = "the same with ttl=2, the bound that our cache keeps, and without deleting on writes"
    ttl_s = 2

    async def drop(self, numbers: Sequence[int]) -> None:
        """Nobody does."""


def _address(redis_url: str) -> dict[str, Any]:
    """A Redis URL as aiocache takes it; it speaks TCP only."""
    parts = urlsplit(redis_url)
    password = None if parts.password is None else unquote(parts.password)
    return {"endpoint": parts.hostname or "127.0.0.1", "port": parts.port or 6379, "password": password, "db": int(parts.path[1:] or 0)}
