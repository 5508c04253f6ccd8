"""Redis or Valkey as the cache sees it: every exchange has a deadline and goes through the breaker, and a failure is a value."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import redis.asyncio as redis
from redis.exceptions import AuthenticationError, InvalidResponse, MovedError, RedisError, ResponseError

from adapters.ending import end
from adapters.redis_cache.breaker import Breaker, BreakerState
from adapters.redis_cache.lua import Script, evaluate, is_list
from adapters.redis_cache.policy import CachePolicy

if TYPE_CHECKING:
    from adapters.redis_cache.stats import CacheStats

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Redis was not asked (breaker_open, reconnecting) or has not answered as it should (slow, timeout, connection, response).

    Not a miss: nothing is known.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Moved(Unavailable):
    """A node of a cluster says that another one has this slot by now; `host` empty: at the address that was asked."""

    slot: int
    host: str
    port: int


class Exchanges(ABC):
    """What the cache asks of Redis, within bounds: of one server, or of the cluster's node that has the keys. All keys of a call have one
    hash tag. Never raises for what Redis does or fails to do."""

    async def read(self, names: Sequence[str]) -> list[bytes | None] | Unavailable:
        """The values under these keys, read at one moment. None also for a key of another type."""

        async def read(client: redis.Redis) -> list[bytes | None]:
            values = await client.mget(names)
            if not is_list(values, len(names)) or not all(value is None or isinstance(value, bytes) for value in values):
                raise InvalidResponse("the answer to MGET is none")
            return cast("list[bytes | None]", values)

        return await self.on(names[0], read)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Any | Unavailable:
        """What a script returns."""
        return await self.on(keys[0], lambda client: evaluate(client, script, keys, arguments))

    async def add_to_hash(self, name: str, counts: Mapping[str, int]) -> list[Any] | Unavailable:
        """Adds to the integers in a hash, in one exchange."""

        async def add(client: redis.Redis) -> list[Any]:
            async with client.pipeline(transaction=False) as pipeline:
                for field, count in counts.items():
                    pipeline.hincrby(name, field, count)
                return await pipeline.execute()

        return await self.on(name, add)

    async def forget(self, names: Sequence[str]) -> int | Unavailable:
        """Drops keys; how many there were."""
        return await self.on(names[0], lambda client: client.unlink(*names))

    @abstractmethod
    async def on(self, name: str | bytes, exchange: Callable[[redis.Redis], Awaitable[T]]) -> T | Unavailable:
        """What one exchange with whoever has this key returns."""

    @property
    @abstractmethod
    def breaker_state(self) -> BreakerState:
        """Of several breakers the one that is furthest from letting everybody ask."""

    @abstractmethod
    async def nodes(self) -> Sequence[CacheServer]:
        """The servers that there are, to look at each; none if nobody says."""

    @abstractmethod
    async def aclose(self) -> None:
        """Closes the connections. Never raises for a server that is gone."""


class CacheServer(Exchanges):
    """One server, behind a breaker."""

    def __init__(self, client: redis.Redis, policy: CachePolicy, breaker: Breaker, stats: CacheStats) -> None:
        self._stats = stats
        self._command_s: Final = policy.command_s
        self._connect_s: Final = policy.connect_s
        self._connected = False
        self._probing: asyncio.Task[Any] | None = None
        self.client = client
        self.breaker = breaker

    @property
    def breaker_state(self) -> BreakerState:
        """See Exchanges."""
        return self.breaker.state

    async def nodes(self) -> Sequence[CacheServer]:
        """See Exchanges."""
        return [self]

    async def on(self, name: str | bytes, exchange: Callable[[redis.Redis], Awaitable[T]]) -> T | Unavailable:  # noqa: ARG002 - it has all keys
        """See Exchanges."""
        return await self.ask(lambda: exchange(self.client))

    async def ask(self, exchange: Callable[[], Awaitable[T]]) -> T | Unavailable:
        """What one exchange with the server returns. Where Redis has failed nobody waits until it can be connected to again."""
        if self.breaker.state is not BreakerState.CLOSED:
            return Unavailable(self._probe())
        # To connect takes longer than a command, and where Redis has just failed, longer than anybody should wait.
        return await self._exchange(exchange, self._command_s if self._connected or self.breaker.doubts else self._connect_s)

    def _probe(self) -> str:
        """Tries Redis beside those who ask, if it is time; why they do without."""
        if self._probing is None and self.breaker.allows():
            self._probing = asyncio.create_task(self._exchange(self.client.ping, self._connect_s), name="cache probe")
            self._probing.add_done_callback(self._probed)
        return "breaker_open" if self._probing is None else "reconnecting"

    def _probed(self, _: asyncio.Task[Any]) -> None:
        self._probing = None

    async def _exchange(self, exchange: Callable[[], Awaitable[T]], deadline_s: float) -> T | Unavailable:
        try:
            async with _Deadline(deadline_s):
                answer = await exchange()
        except MovedError as error:
            self.breaker.succeeded()
            return Moved("response", error.slot_id, error.host, error.port)
        except ResponseError:
            # The server is there and says no: a script's error, a read-only replica, no memory. Asking the next thing is cheap.
            self.breaker.succeeded()
            self._stats.redis_failed("response")
            return Unavailable("response")
        except TimeoutError:
            return self._failed("timeout")
        except (RedisError, OSError, ValueError) as error:
            # ValueError and the like: what listens there does not speak Redis.
            reason = "timeout" if "No connection available" in str(error) else "connection"
            return self._failed(reason, refused=is_refusal(error))
        except BaseException:
            self.breaker.abandoned()
            raise
        self._connected = True
        self.breaker.succeeded()
        return answer

    async def aclose(self) -> None:
        """See Exchanges."""
        await end(self._probing)
        try:
            async with asyncio.timeout(self._connect_s):
                await self.client.aclose()
        except (RedisError, OSError, TimeoutError):
            return

    def _failed(self, reason: str, *, refused: bool = False) -> Unavailable:
        self.breaker.failed(to_connect=not self._connected, refused=refused)
        self._connected = False
        self._stats.redis_failed(reason)
        return Unavailable(reason)


def is_refusal(error: BaseException) -> bool:
    """Whether Redis does not let us in. From connecting, redis-py raises a general error, with what it was as the cause."""
    return isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError)


class _Deadline:
    """As asyncio.timeout, but what has arrived when time is up is heard first.

    A reply wakes its reader in the turn of the loop after the one in which it came. Where a busy loop lags behind, the clock would else win
    against replies that were there in time, and the breaker would open on a Redis that answers.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(None)
        self._timer: asyncio.Handle | None = None

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._time_is_up)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _time_is_up(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_soon(self._limit.reschedule, loop.time())
