"""valkey-glide: the client whose core is in Rust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import zstandard
from glide import ExpirySet, ExpiryType, GlideClient, GlideClientConfiguration, NodeAddress, ServerCredentials
from redis.asyncio.connection import parse_url

from adapters import document
from adapters.entrypoints.bench.documents import compressed
from adapters.entrypoints.bench.peers.peer import TTL_S, BatchPeer
from domain.analytics import SessionAnalytics

# Its default of 250 ms would fail where 256 readers of documents of 1 MB wait for each other.
_REQUEST_MS = 10_000


class Glide(BatchPeer):
    """GET, decompress, decode into the same types; on a miss, load and SET."""

    name = "valkey-glide GET, decoded"
    how = "one GlideClient, which multiplexes one connection; GET, zstd, msgspec into the same dataclasses; SET with a TTL after a load"
    name_raw: ClassVar[str] = "valkey-glide GET"
    documentation = "https://glide.valkey.io/"

    _client: GlideClient

    async def open(self) -> None:
        """Connects."""
        at = parse_url(self.place.redis_url)
        password = at.get("password")
        configuration = GlideClientConfiguration(
            [NodeAddress(at["host"], int(at.get("port", 6379)))],
            credentials=ServerCredentials(password, at.get("username")) if password else None,
            database_id=int(at.get("db", 0)),
            request_timeout=_REQUEST_MS,
        )
        self._client = await GlideClient.create(configuration)
        self._decompressor = zstandard.ZstdDecompressor()

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._client.close()

    def key(self, number: int) -> str:
        """Where the session of a number is."""
        return f"{self.place.key_prefix}:glide:{number}"

    async def raw(self, number: int) -> bytes | None:
        """The bytes alone."""
        return await self._client.get(self.key(number))

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        return self._decoded(await self.raw(number))

    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """By MGET."""
        return [self._decoded(found) for found in await self._client.mget([self.key(number) for number in numbers])]

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        await self._client.set(self.key(number), compressed(analytics), expiry=ExpirySet(ExpiryType.SEC, TTL_S))

    async def put_many(self, analytics: Mapping[int, SessionAnalytics]) -> None:
        """By MSET; without a TTL, which that has not."""
        await self._client.mset({self.key(number): compressed(each) for number, each in analytics.items()})

    async def drop(self, numbers: Sequence[int]) -> None:
        """See Peer."""
        await self._client.unlink([self.key(number) for number in numbers])

    def _decoded(self, found: bytes | None) -> SessionAnalytics | None:
        return None if found is None else document.decode(self._decompressor.decompress(found), of="the peer")
