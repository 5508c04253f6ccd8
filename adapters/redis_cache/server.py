"""Redis or Valkey as the cache sees it: every exchange has a deadline and goes through the breaker, and a failure is a value."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, NoScriptError, RedisError, ResponseError

from adapters.redis_cache import sentinel
from adapters.redis_cache.breaker import Breaker, BreakerState
from adapters.redis_cache.policy import CachePolicy
from domain.errors import InvalidSettings

if TYPE_CHECKING:
    from adapters.redis_cache.stats import CacheStats

T = TypeVar("T")

_FLOOR: Final = re.compile(rb"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Redis was not asked (breaker_open, reconnecting) or did not answer as it should (timeout, connection, response).

    Not a miss: nothing is known.
    """

    reason: str


class Script:
    """One of scripts/*.lua, with the lines in scripts/_entry.lua before it. `understands` knows its answer, given the number of keys."""

    def __init__(self, name: str, understands: Callable[[Any, int], bool]) -> None:
        self.understands = understands
        folder = files("adapters.redis_cache") / "scripts"
        self.text = (folder / "_entry.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Scripts:
    """All scripts, read once."""

    acquire: Script
    release: Script
    fill: Script
    invalidate: Script
    mark: Script
    apply: Script

    @classmethod
    def load(cls) -> Scripts:
        """Reads them from the package."""
        return cls(
            acquire=Script("acquire", lambda answer, keys: _is_list(answer, keys // 2) and all(map(_is_grant, answer))),
            release=Script("release", lambda answer, _: type(answer) is int),
            fill=Script("fill", lambda answer, keys: _is_list(answer, keys // 2, 0, 1)),
            invalidate=Script("invalidate", lambda answer, _: answer == 1),
            mark=Script("mark", lambda answer, _: _is_list(answer, 3) and [type(part) for part in answer] == [int, bytes, int]),
            apply=Script("apply", lambda answer, _: answer in (0, 1)),
        )


def create_client(url: str, policy: CachePolicy) -> redis.Redis:
    """A client that connects at its first use. Raises InvalidSettings without repeating the URL, which may hold a password."""
    options: dict[str, Any] = {
        "max_connections": policy.connections_max,
        "timeout": policy.command_s,  # Waits for a free connection; beyond it the truth answers.
        "socket_connect_timeout": policy.connect_s,
        "socket_timeout": None,  # CacheServer's deadlines are around whole exchanges; a second timer in each would only cost.
        "retry": Retry(NoBackoff(), 0),  # The breaker decides when to try again.
        "health_check_interval": 0,
        "protocol": 3,
    }
    scheme = url.partition("://")[0]
    if scheme.endswith("+cluster"):
        raise InvalidSettings(f"REDIS_URL: Redis Cluster is not driven; give one server, or sentinels: {sentinel.FORM}")
    try:
        if scheme == sentinel.SCHEME:
            pool = sentinel.sentinel_pool(url, policy, **options)
        else:
            pool = redis.BlockingConnectionPool.from_url(url, **options)
    except (ValueError, TypeError) as error:
        raise InvalidSettings(
            f"REDIS_URL is not a Redis URL; one looks like redis://user:password@host:6379/0, unix:///path or {sentinel.FORM}"
        ) from error
    return redis.Redis.from_pool(pool)


class CacheServer:
    """Asks Redis, within bounds. Never raises for what Redis does or fails to do."""

    def __init__(self, client: redis.Redis, policy: CachePolicy, breaker: Breaker, stats: CacheStats) -> None:
        self._client = client
        self._stats = stats
        self._command_s: Final = policy.command_s
        self._connect_s: Final = policy.connect_s
        self._connected = False
        self._probing: asyncio.Task[Any] | None = None
        self.breaker = breaker

    async def read(self, names: Sequence[str]) -> list[bytes | None] | Unavailable:
        """The values under these keys, read at one moment. None also for a key of another type."""

        async def read() -> list[bytes | None]:
            values = await self._client.mget(names)
            if not _is_list(values, len(names)) or not all(value is None or isinstance(value, bytes) for value in values):
                raise InvalidResponse("the answer to MGET is none")
            return cast("list[bytes | None]", values)

        return await self.ask(read)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Any | Unavailable:
        """What a script returns."""
        return await self.ask(lambda: self._evaluate(script, keys, arguments))

    async def add_to_hash(self, name: str, counts: Mapping[str, int]) -> list[Any] | Unavailable:
        """Adds to the integers in a hash, in one exchange."""

        async def add() -> list[Any]:
            async with self._client.pipeline(transaction=False) as pipeline:
                for field, count in counts.items():
                    pipeline.hincrby(name, field, count)
                return await pipeline.execute()

        return await self.ask(add)

    async def forget(self, names: Sequence[str]) -> int | Unavailable:
        """Drops keys; how many there were."""
        return await self.ask(lambda: self._client.unlink(*names))

    async def on(self, exchange: Callable[[redis.Redis], Awaitable[T]]) -> T | Unavailable:
        """What one exchange with the client returns; for looking at the server from outside."""
        return await self.ask(lambda: exchange(self._client))

    async def ask(self, exchange: Callable[[], Awaitable[T]]) -> T | Unavailable:
        """What one exchange with the server returns. Where Redis has failed nobody waits until it can be connected to again."""
        if self.breaker.state is not BreakerState.CLOSED:
            return Unavailable(self._probe())
        # To connect takes longer than a command, and where Redis has just failed, longer than anybody should wait.
        return await self._exchange(exchange, self._command_s if self._connected or self.breaker.doubts else self._connect_s)

    def _probe(self) -> str:
        """Tries Redis beside those who ask, if it is time; why they do without."""
        if self._probing is None and self.breaker.allows():
            self._probing = asyncio.create_task(self._exchange(self._client.ping, self._connect_s), name="cache probe")
            self._probing.add_done_callback(self._probed)
        return "breaker_open" if self._probing is None else "reconnecting"

    def _probed(self, _: asyncio.Task[Any]) -> None:
        self._probing = None

    async def _exchange(self, exchange: Callable[[], Awaitable[T]], deadline_s: float) -> T | Unavailable:
        try:
            async with _Deadline(deadline_s):
                answer = await exchange()
        except ResponseError:
            # The server is there and says no: a script's error, a read-only replica, no memory. Asking the next thing is cheap.
            self.breaker.succeeded()
            self._stats.redis_failed("response")
            return Unavailable("response")
        except TimeoutError:
            return self._failed("timeout")
        except (RedisError, OSError, ValueError) as error:
            # ValueError and the like: what listens there does not speak Redis.
            return self._failed("timeout" if "No connection available" in str(error) else "connection")
        except BaseException:
            self.breaker.abandoned()
            raise
        self._connected = True
        self.breaker.succeeded()
        return answer

    async def aclose(self) -> None:
        """Closes the connections. Never raises for a server that is gone."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])
        try:
            async with asyncio.timeout(self._connect_s):
                await self._client.aclose()
        except (RedisError, OSError, TimeoutError):
            return

    def _failed(self, reason: str) -> Unavailable:
        self.breaker.failed(to_connect=not self._connected)
        self._connected = False
        self._stats.redis_failed(reason)
        return Unavailable(reason)

    async def _evaluate(self, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Any:
        try:
            answer = await self._client.evalsha(script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            answer = await self._client.eval(script.text, len(keys), *keys, *arguments)
        # Anything that speaks the protocol may stand at the address: what it says must not get further than here.
        if not script.understands(answer, len(keys)):
            raise InvalidResponse("the answer to a script is none")
        return answer


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


def _is_grant(answer: object) -> bool:
    return isinstance(answer, bytes) and (answer in (b"hit", b"busy") or _FLOOR.fullmatch(answer) is not None)


def _is_list(answer: object, length: int, *of: object) -> bool:
    return isinstance(answer, list) and len(answer) == length and (not of or all(part in of for part in answer))
