"""aiocache: one interface over a dict or Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from aiocache import RedisCache, SimpleMemoryCache, cached_stampede
from aiocache.serializers import PickleSerializer
from redis.asyncio.connection import parse_url

from adapters.entrypoints.bench.peers.peer import TTL_S, BatchPeer
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics

# A reader more than its pool has connections gets an error, so there is one for each.
_CONNECTIONS_MAX = 256


class AiocacheMemory(BatchPeer):
    """A dict: nothing is ever pushed out, it only runs out of time."""

    name = "aiocache, memory"
    how = "SimpleMemoryCache(), NullSerializer: the objects themselves, in a dict without a bound; a timeout around each call, its default"
    documentation = "https://aiocache.aio-libs.org/en/latest/caches.html#simplememorycache"

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        self.cache = self.made()

        async def load(number: int) -> SessionAnalytics:
            return await truth.load(number)

        decorate: Any = cached_stampede(lease=2, ttl=TTL_S, key_builder=lambda _, number: self.key(number))
        self._read_protected: Callable[[int], Awaitable[SessionAnalytics]] = decorate(load)
        decorate.cache = self.cache  # It has made one of its own, with a pool of its own.

    def made(self) -> Any:
        """The cache, as the documentation says."""
        return SimpleMemoryCache()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self.cache.close()

    def key(self, number: int) -> str:
        """Where the session of a number is."""
        return f"{self.place.key_prefix}:aiocache:{number}"

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        found: SessionAnalytics | None = await self.cache.get(self.key(number))
        return found

    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """See BatchPeer."""
        found: list[SessionAnalytics | None] = await self.cache.multi_get([self.key(number) for number in numbers])
        return found

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        await self.cache.set(self.key(number), analytics, ttl=TTL_S)

    async def put_many(self, analytics: Mapping[int, SessionAnalytics]) -> None:
        """See Peer."""
        await self.cache.multi_set([(self.key(number), each) for number, each in analytics.items()], ttl=TTL_S)

    async def drop(self, numbers: Sequence[int]) -> None:
        """One by one: there is no other way."""
        for number in numbers:
            await self.cache.delete(self.key(number))

    async def read_protected(self, number: int) -> SessionAnalytics:
        """By the decorator."""
        return await self._read_protected(number)


class AiocacheRedis(AiocacheMemory):
    """In Redis."""

    name = "aiocache, Redis"
    how = (
        "RedisCache(serializer=PickleSerializer(), pool_max_size=256), since its JsonSerializer cannot write dataclasses; a timeout"
        " around each call, its default"
    )
    documentation = "https://aiocache.aio-libs.org/en/latest/serializers.html#pickleserializer"
    protection = "@cached_stampede(lease=2)"
    options: ClassVar[dict[str, Any]] = {}

    def made(self) -> Any:
        """The cache, as the documentation says."""
        at = parse_url(self.place.redis_url)
        return RedisCache(
            serializer=PickleSerializer(),
            endpoint=at["host"],
            port=at.get("port", 6379),
            db=at.get("db", 0),
            password=at.get("password"),
            **{"pool_max_size": _CONNECTIONS_MAX, **self.options},
        )
