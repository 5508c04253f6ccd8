"""cashews: decorators over a backend in memory, in Redis, or in Redis with copies that Redis says are outdated."""

from __future__ import annotations

from collections.abc import Sequence

from cashews import Cache

from adapters.entrypoints.bench.peers.peer import TTL_S, Peer
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics


class CashewsMemory(Peer):
    """The backend in memory: the objects themselves, until their time is up or they are pushed out."""

    name = "cashews, memory"
    how = 'cache.setup("mem://", size=1000): objects as they are; deleted by the process that writes, and by nobody else'
    documentation = "https://github.com/Krukov/cashews#in-memory"

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        self.cache = Cache()
        self.set_up()

    def set_up(self) -> None:
        """As the documentation says."""
        self.cache.setup("mem://", size=1000)

    async def open(self) -> None:
        """Connects."""
        await self.cache.init()

    async def aclose(self) -> None:
        """Closes the backend."""
        await self.cache.close()

    def key(self, number: int) -> str:
        """Where the session of a number is."""
        return f"{self.place.key_prefix}:cashews:{number}"

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        found: SessionAnalytics | None = await self.cache.get(self.key(number))
        return found

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        await self.cache.set(self.key(number), analytics, expire=TTL_S)

    async def drop(self, numbers: Sequence[int]) -> None:
        """See Peer."""
        await self.cache.delete_many(*map(self.key, numbers))
