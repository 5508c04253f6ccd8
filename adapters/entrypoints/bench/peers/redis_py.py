"""Bare redis-py: the floor of what any cache in Redis can do from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import redis.asyncio as redis
import zstandard

from adapters import document
from adapters.entrypoints.bench.documents import compressed
from adapters.entrypoints.bench.peers.peer import TTL_S, BatchPeer
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics

# One for each reader of the most there are: the pool makes them as they are needed.
_CONNECTIONS_MAX = 256


class RedisPy(BatchPeer):
    """GET, decompress, decode into the same types; on a miss, load and SET. It knows nothing of writes by others."""

    name = "redis-py GET, decoded"
    how = "redis.asyncio with hiredis, one client and its pool; GET, zstd, msgspec into the same dataclasses; SET with a TTL after a load"
    name_raw: ClassVar[str] = "redis-py GET"
    documentation = "https://redis.io/docs/latest/develop/clients/redis-py/"

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        self.client = redis.Redis.from_url(place.redis_url, max_connections=_CONNECTIONS_MAX)
        self._decompressor = zstandard.ZstdDecompressor()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self.client.aclose()

    def key(self, number: int) -> str:
        """Where the session of a number is."""
        return f"{self.place.key_prefix}:bare:{number}"

    async def raw(self, number: int) -> bytes | None:
        """The bytes alone."""
        found = await self.client.get(self.key(number))
        assert not isinstance(found, str)  # noqa: S101 - the client was not told to decode
        return found

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        return self._decoded(await self.raw(number))

    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """By MGET."""
        return [self._decoded(found) for found in await self.client.mget([self.key(number) for number in numbers])]

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        await self.client.set(self.key(number), compressed(analytics), ex=TTL_S)

    async def put_many(self, analytics: Mapping[int, SessionAnalytics]) -> None:
        """By a pipeline."""
        async with self.client.pipeline(transaction=False) as pipeline:
            for number, each in analytics.items():
                pipeline.set(self.key(number), compressed(each), ex=TTL_S)
            await pipeline.execute()

    async def drop(self, numbers: Sequence[int]) -> None:
        """See Peer."""
        await self.client.unlink(*map(self.key, numbers))

    def _decoded(self, found: bytes | str | None) -> SessionAnalytics | None:
        if found is None:
            return None
        assert not isinstance(found, str)  # noqa: S101 - the client was not told to decode
        return document.decode(self._decompressor.decompress(found), of="the peer")
