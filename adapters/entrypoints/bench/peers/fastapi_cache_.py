"""fastapi-cache2: a decorator, for routes and for functions, over Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis.asyncio as redis
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.coder import PickleCoder
from fastapi_cache.decorator import cache

from adapters.entrypoints.bench.peers.peer import TTL_S, Peer
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics

_CONNECTIONS_MAX = 256


class FastapiCache(Peer):
    """The decorator on a function. There is one cache in a process, which is the library's way."""

    name = "fastapi-cache2, Redis"
    how = "FastAPICache.init(RedisBackend(redis)), @cache(expire=…, coder=PickleCoder) on a function; TTL and GET in one MULTI"
    documentation = "https://github.com/long2ice/fastapi-cache#use-the-cache-decorator"

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        self._client = redis.Redis.from_url(place.redis_url, max_connections=_CONNECTIONS_MAX)

        @cache(expire=TTL_S, coder=PickleCoder, key_builder=_key)
        async def load(number: int) -> SessionAnalytics:
            return await truth.load(number)

        self._read: Callable[[int], Awaitable[Any]] = load

    async def open(self) -> None:
        """Becomes the one cache of this process."""
        FastAPICache.reset()
        FastAPICache.init(RedisBackend(self._client), prefix=f"{self.place.key_prefix}:fastapi")

    async def aclose(self) -> None:
        """Closes the connections."""
        FastAPICache.reset()
        await self._client.aclose()

    async def get(self, number: int) -> SessionAnalytics | None:
        """By the decorated function, which loads what is not held."""
        found: SessionAnalytics = await self._read(number)
        return found

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """As the decorator does."""
        await FastAPICache.get_backend().set(self.key(number), PickleCoder.encode(analytics), TTL_S)

    async def drop(self, numbers: Sequence[int]) -> None:
        """One by one: there is no other way."""
        for number in numbers:
            await FastAPICache.clear(key=self.key(number))

    def key(self, number: int) -> str:
        """Where the session of a number is."""
        return _key(None, f"{FastAPICache.get_prefix()}:", args=(number,))


def _key(_function: object, namespace: str = "", *, args: tuple[Any, ...] = (), **_: object) -> str:
    """A key builder, as the documentation describes: its own makes an MD5 of the arguments' repr, which could not be deleted by number."""
    return f"{namespace}:{args[0]}"
