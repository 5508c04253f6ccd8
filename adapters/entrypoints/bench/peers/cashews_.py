"""cashews: decorators over a backend in memory, in Redis, or in Redis with copies that Redis says are outdated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from cashews import Cache

from adapters.entrypoints.bench.peers.peer import ENTRIES_MAX, TTL_S, BatchPeer
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics


class CashewsMemory(BatchPeer):
    """The backend in memory: the objects themselves, until their time is up or they are pushed out."""

    name = "cashews, memory"
    how = 'cache.setup("mem://", size=1000): the objects themselves; deleted by the process that writes, and by nobody else'
    documentation = "https://github.com/Krukov/cashews#in-memory"

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        self.cache = Cache()
        self.set_up()
        template = self.key("{number}")
        self._read: Callable[[int], Awaitable[SessionAnalytics]] = self.cache(ttl=TTL_S, key=template)(self._load)
        self._read_protected: Callable[[int], Awaitable[SessionAnalytics]] = self.cache(ttl=TTL_S, key=template, lock=True)(self._load)

    def set_up(self) -> None:
        """As the documentation says."""
        self.cache.setup("mem://", size=ENTRIES_MAX)

    async def open(self) -> None:
        """Connects."""
        await self.cache.init()

    async def aclose(self) -> None:
        """Closes the backend."""
        await self.cache.close()

    def key(self, number: int | str) -> str:
        """Where the session of a number is."""
        return f"{self.place.key_prefix}:cashews:{number}"

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        found: SessionAnalytics | None = await self.cache.get(self.key(number))
        return found

    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """See BatchPeer."""
        return await self.cache.get_many(*map(self.key, numbers))

    async def read(self, number: int) -> SessionAnalytics:
        """By the decorator, which is how the documentation has it."""
        return await self._read(number)

    async def read_protected(self, number: int) -> SessionAnalytics:
        """By the decorator."""
        return await self._read_protected(number)

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """See Peer."""
        await self.cache.set(self.key(number), analytics, expire=TTL_S)

    async def put_many(self, analytics: Mapping[int, SessionAnalytics]) -> None:
        """See Peer."""
        await self.cache.set_many({self.key(number): each for number, each in analytics.items()}, expire=TTL_S)

    async def drop(self, numbers: Sequence[int]) -> None:
        """See Peer."""
        await self.cache.delete_many(*map(self.key, numbers))

    async def _load(self, number: int) -> SessionAnalytics:
        return await self.truth.load(number)


class CashewsRedis(CashewsMemory):
    """The backend in Redis."""

    name = "cashews, Redis"
    how = "cache.setup(REDIS_URL): pickle, and check_repr, its default, which formats every value that it has read"
    documentation = "https://github.com/Krukov/cashews#redis"
    protection = "@cache(ttl=…, lock=True)"

    def set_up(self) -> None:
        """As the documentation says."""
        self.cache.setup(self.place.redis_url)


class CashewsClientSide(CashewsRedis):
    """The backend in Redis with copies in the process, which Redis tells about every change of a key."""

    name = "cashews, client side"
    how = "cache.setup(REDIS_URL, client_side=True): copies in the process (10,000 at most, its default) that Redis invalidates by key"
    documentation = "https://github.com/Krukov/cashews#redis"

    def set_up(self) -> None:
        """As the documentation says."""
        # The prefix is what Redis tells the changes of. Ours has no character that means anything there.
        self.cache.setup(self.place.redis_url, client_side=True, client_side_prefix=f"{self.place.key_prefix}:client_side:")
