"""Redis Cluster: who has which slot now, and exchanges with whoever has the keys.

Each node is a CacheServer of its own, with connections and a breaker of its own, so what becomes of one node costs its own partitions, and
no others. Who has which slot is told by CLUSTER SLOTS, and corrected by every MOVED. The nodes are asked anew, beside those who read and
write, when one of them says that something has changed, or when the breaker of one opens. docs/adr/0022 says why redis-py's client for
clusters is not used, and why a slot that is under way (ASK, TRYAGAIN) is not followed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from adapters.ending import end
from adapters.redis_cache.breaker import BreakerState, worst
from adapters.redis_cache.places import Place, is_place, places
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.server import CacheServer, Exchanges, Moved, Unavailable

T = TypeVar("T")

SCHEMES: Final = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
FORM: Final = "redis+cluster://user:password@host1:6379,host2:6379"

_PORT: Final = 6379
# A slot that moves goes to one place; who is sent to more of them goes in circles.
_TRIES: Final = 3
_LOOKS_PER_BREAK: Final = 4


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Some of the nodes, which know the others, and how each of them is connected to."""

    scheme: str
    credentials: str = field(repr=False)
    nodes: tuple[Place, ...]
    options: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> ClusterAddress:
        """From a URL of the form above; options after `?` are those of rediss://. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or parts.path.strip("/") not in ("", "0"):
            raise ValueError("no address of a cluster, which has no databases but 0")
        credentials, at, listed = parts.netloc.rpartition("@")
        return cls(SCHEMES[parts.scheme], credentials + at, places(listed, _PORT), parts.query)

    def url_of(self, place: Place) -> str:
        """One node, as if it were alone."""
        host = f"[{place[0]}]" if ":" in place[0] else place[0]
        return f"{self.scheme}://{self.credentials}{host}:{place[1]}/0?{self.options}"


class ClusterServer(Exchanges):
    """Leads every exchange to the node that has its keys, and once more where that node says MOVED.

    `connect` makes a node's CacheServer from its URL, which calls back when its breaker opens. Never waits for the map of the slots but at
    the very first exchange.
    """

    def __init__(
        self,
        address: ClusterAddress,
        connect: Callable[[str, Callable[[], None]], CacheServer],
        policy: CachePolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        shuffle: Callable[[list[Place]], None] = random.shuffle,
    ) -> None:
        self._address = address
        self._connect = connect
        self._clock = clock
        self._shuffle = shuffle
        self._connect_s = policy.connect_s
        self._patience_s = policy.command_s
        self._between_looks_s = policy.open_s / _LOOKS_PER_BREAK
        self._owners: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._servers: dict[Place, CacheServer] = {}
        self._followers: list[Callable[[], None]] = []
        self._looking: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[list[Place | None] | None]] = set()
        self._looked_at_s = -inf
        self._unknown = True
        self._retiring: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        for place in address.nodes:
            self._server(place)  # A URL that cannot be used is found now.

    @property
    def a_node(self) -> CacheServer:
        """Any one, for who has to begin somewhere."""
        return self._server(self._address.nodes[0])

    def owner(self, slot: int) -> CacheServer | None:
        """Who has this slot, as far as is known."""
        place = self._owners[slot]
        return None if place is None else self._servers[place]

    def follow(self, turn: Callable[[], None]) -> None:
        """Calls `turn` whenever slots may have changed hands."""
        self._followers.append(turn)

    def moved(self, moved: Moved, by: CacheServer) -> None:
        """A node says who has a slot now."""
        asked = next((place for place, server in self._servers.items() if server is by), None)
        host = moved.host or (asked or ("", 0))[0]
        if not is_place(host, moved.port) or not 0 <= moved.slot < REDIS_CLUSTER_HASH_SLOTS:
            return
        self.look_again()  # Seldom does one slot go alone.
        place = (host, moved.port)
        if self._owners[moved.slot] != place:
            self._server(place)
            self._owners[moved.slot] = place
            self._tell()

    def look_again(self) -> asyncio.Task[None]:
        """Asks the nodes who has which slot, in the background; not more often than is of use."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="cache cluster")
            self._looking.add_done_callback(self._looked)
        return self._looking

    async def on(self, name: str | bytes, exchange: Callable[[redis.Redis], Awaitable[T]]) -> T | Unavailable:
        """See Exchanges."""
        slot = key_slot(name.encode() if isinstance(name, str) else name)
        await self._known()
        for _ in range(_TRIES):
            owner = self.owner(slot)
            if owner is None:
                self.look_again()
                return Unavailable("reconnecting")
            answer = await owner.on(name, exchange)
            if not isinstance(answer, Moved):
                return answer
            self.moved(answer, owner)
        return Unavailable("response")

    @property
    def breaker_state(self) -> BreakerState:
        """See Exchanges."""
        return worst(self._servers[place].breaker.state for place in self._primaries())

    async def nodes(self) -> Sequence[CacheServer]:
        """Those that have slots."""
        await self._known()
        return [self._servers[place] for place in self._primaries()]

    async def aclose(self) -> None:
        """See Exchanges."""
        self._closing.set()
        for task in (self._looking, *self._asking):
            await end(task)
        if self._retiring:
            await asyncio.wait(self._retiring)
        for server in self._servers.values():
            await server.aclose()

    def _primaries(self) -> list[Place]:
        return list(dict.fromkeys(place for place in self._owners if place is not None))

    def _server(self, place: Place) -> CacheServer:
        if place not in self._servers:
            self._servers[place] = self._connect(self._address.url_of(place), self._opened)
        return self._servers[place]

    def _opened(self) -> None:
        if not self._closing.is_set():
            self.look_again()

    async def _known(self) -> None:
        if self._unknown:  # Nobody waits any longer, nor for a second look: it may have to connect to nodes that are gone.
            await asyncio.wait([self.look_again()], timeout=self._connect_s)
            self._unknown = False

    def _looked(self, _: asyncio.Task[None]) -> None:
        self._looking = None

    async def _look(self) -> None:
        await asyncio.sleep(max(0.0, self._looked_at_s + self._between_looks_s - self._clock()))
        try:
            to_ask, under_way = self._to_ask(), set[asyncio.Task[list[Place | None] | None]]()
            while to_ask or under_way:
                if to_ask:
                    under_way.add(self._ask(to_ask.pop(0)))
                # Who begins with a node that hangs has no use for its answer when it is given up: the next is asked beside it.
                patience_s = self._patience_s if to_ask else None
                answered, under_way = await asyncio.wait(under_way, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                if (owners := next((task.result() for task in answered if task.result()), None)) is not None:
                    self._learn(owners)
                    return
        finally:
            self._looked_at_s = self._clock()

    def _ask(self, place: Place) -> asyncio.Task[list[Place | None] | None]:
        """Who has the slots, as one node says. It is not cut short when another one has answered: that it hangs is worth knowing."""

        async def ask() -> list[Place | None] | None:
            server = self._server(place)
            return owners_in(await server.ask(lambda: server.client.execute_command("CLUSTER", "SLOTS")), place[0])  # type: ignore[no-untyped-call]

        task = asyncio.create_task(ask(), name="cache cluster slots")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    def _to_ask(self) -> list[Place]:
        """All that are known, and first those that do not fail; by chance, so that one that was cut off is not asked every time."""
        known = list(dict.fromkeys([*self._primaries(), *self._address.nodes]))
        self._shuffle(known)
        return sorted(known, key=lambda place: self._server(place).breaker.state is not BreakerState.CLOSED)

    def _learn(self, owners: list[Place | None]) -> None:
        self._owners = owners
        needed = {*self._primaries(), *self._address.nodes}
        for place in needed:
            self._server(place)
        for place in self._servers.keys() - needed:
            task = asyncio.create_task(self._retire(self._servers.pop(place)))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        self._tell()

    def _tell(self) -> None:
        for turn in self._followers:
            turn()

    async def _retire(self, server: CacheServer) -> None:
        # Who asks it now is answered yet.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._connect_s):
                await self._closing.wait()
        await server.aclose()


def owners_in(told: Any, asked_host: str) -> list[Place | None] | None:
    """The owner of each slot in an answer to CLUSTER SLOTS; None if it is none, for anything may stand at the address."""
    if not isinstance(told, list) or not told:
        return None
    owners: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    try:
        for first, last, (host, port, *_), *_ in told:
            name = host.decode() if host else ""
            # A node that does not know its own address is where it was asked.
            place = (name if name not in ("", "?") else asked_host, int(port))
            if not is_place(*place) or not 0 <= first <= last < REDIS_CLUSTER_HASH_SLOTS:
                return None
            owners[first : last + 1] = [place] * (last + 1 - first)
    except (ValueError, TypeError, AttributeError):
        return None
    return owners
