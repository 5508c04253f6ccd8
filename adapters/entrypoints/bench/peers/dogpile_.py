"""dogpile.cache: regions for threaded code. From asyncio it is used in threads, since everything it does with Redis blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

from adapters.entrypoints.bench.peers.peer import TTL_S, BatchPeer
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics


class DogpileMemory(BatchPeer):
    """A dict, asked on the event loop: it does not block."""

    name = "dogpile.cache, memory"
    how = "make_region().configure('dogpile.cache.memory'): the objects themselves, in a dict without a bound; called on the event loop"
    documentation = "https://dogpilecache.sqlalchemy.org/en/latest/usage.html"

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        self.region = make_region().configure("dogpile.cache.memory", expiration_time=TTL_S)

    def key(self, number: int) -> str:
        """Where the session of a number is."""
        return f"{self.place.key_prefix}:dogpile:{number}"

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        return _found(self.region.get(self.key(number)))

    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """See BatchPeer."""
        return self._found_together([self.key(number) for number in numbers])

    def _found_together(self, keys: list[str]) -> list[SessionAnalytics | None]:
        region: Any = self.region  # Of which this method has no types.
        return list(map(_found, region.get_multi(keys)))

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        self.region.set(self.key(number), analytics)

    async def drop(self, numbers: Sequence[int]) -> None:
        """See Peer."""
        self.region.delete_multi([self.key(number) for number in numbers])


class DogpileRedis(DogpileMemory):
    """In Redis, in threads of asyncio's."""

    name = "dogpile.cache, Redis"
    how = (
        "make_region().configure('dogpile.cache.redis'), pickle; it blocks, so each call is an asyncio.to_thread: its story for asyncio is"
        " threads"
    )
    documentation = "https://dogpilecache.sqlalchemy.org/en/latest/api.html#redis-backends"
    protection = "get_or_create with distributed_lock=True, thread_local_lock=False"

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        arguments = {
            "url": place.redis_url,
            "redis_expiration_time": 2 * TTL_S,
            "distributed_lock": True,
            "thread_local_lock": False,
            "lock_timeout": 15,
        }
        self.region = make_region().configure("dogpile.cache.redis", expiration_time=TTL_S, arguments=arguments)

    async def aclose(self) -> None:
        """Closes the connections, which the library leaves to the end of the process."""
        backend: Any = self.region.backend
        await asyncio.to_thread(backend.writer_client.close)

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        return _found(await asyncio.to_thread(self.region.get, self.key(number)))

    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """See BatchPeer."""
        return await asyncio.to_thread(self._found_together, [self.key(number) for number in numbers])

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        await asyncio.to_thread(self.region.set, self.key(number), analytics)

    async def put_many(self, analytics: Mapping[int, SessionAnalytics]) -> None:
        """See Peer."""
        await asyncio.to_thread(self.region.set_multi, {self.key(number): each for number, each in analytics.items()})

    async def drop(self, numbers: Sequence[int]) -> None:
        """See Peer."""
        await asyncio.to_thread(self.region.delete_multi, [self.key(number) for number in numbers])

    async def read_protected(self, number: int) -> SessionAnalytics:
        """By get_or_create, whose creator asks the event loop for the load."""
        loop = asyncio.get_running_loop()

        def create() -> SessionAnalytics:
            return asyncio.run_coroutine_threadsafe(self.truth.load(number), loop).result()

        found: SessionAnalytics = await asyncio.to_thread(self.region.get_or_create, self.key(number), create)
        return found


def _found(value: Any) -> SessionAnalytics | None:
    return None if value is NO_VALUE else value
