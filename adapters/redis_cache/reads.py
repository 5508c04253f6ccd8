"""Reads of one turn of the event loop leave as one MGET, on a connection of their own.

This is the path that matters most, so it is the one place that speaks to the connection itself: redis-py connects and introduces itself
(TLS, AUTH, SELECT, RESP3), then its transport is given this protocol. A read costs a future and its share of a write and of a parse;
through redis-py's client it costs a pool, a stream and a timer of its own (docs/adr/0005).
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import hiredis
import redis.asyncio as redis
from redis.exceptions import RedisError

from adapters.redis_cache.breaker import Breaker
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.stats import CacheStats

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES_MAX: Final = 256
_UNDER_WAY_MAX: Final = 2

Value = tuple[bytes | None, bytes | None]
"""An entry and the heartbeat, read at one moment."""
Waiting = dict[str, list[asyncio.Future[Value | Unavailable]]]


class CoalescedReads(asyncio.Protocol):
    """Reads entries together with the heartbeat; each entry once an MGET, whoever and however many ask for it.

    Two MGETs may be under way; who asks meanwhile gathers for the next, so the busier it is, the larger they are. Cancelling a reader
    touches nobody else. All answers come within the deadline, or are Unavailable.
    """

    def __init__(self, client: redis.Redis, breaker: Breaker, policy: CachePolicy, stats: CacheStats | None = None) -> None:
        self._stats = stats or CacheStats()
        self._client = client
        self._breaker = breaker
        self._command_s = policy.command_s
        self._connect_s = policy.connect_s
        self._heartbeat = ""
        self._connection: Any = None
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._replies = hiredis.Reader(notEnoughData=_NOTHING)
        self._waiting: Waiting = {}
        self._under_way: deque[Waiting] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        self._send_is_due = False

    def read(self, entry: str, heartbeat: str) -> asyncio.Future[Value | Unavailable]:
        """The values under both names, at one moment after this call. All calls name the same heartbeat."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Value | Unavailable] = loop.create_future()
        if self._transport is None and self._connecting is None and not self._breaker.allows():
            future.set_result(Unavailable("breaker_open"))
            return future
        self._heartbeat = heartbeat
        waiting = self._waiting.get(entry)
        if waiting is None:
            self._waiting[entry] = [future]
        else:
            waiting.append(future)
            self._stats.count("mget_joined")
        if not self._send_is_due:
            # Runs after everybody who is ready in this turn of the loop has asked.
            self._send_is_due = True
            loop.call_soon(self._send)
        return future

    async def aclose(self) -> None:
        """Closes the connection; who still waits is told that Redis is unavailable."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        self._fail("connection", to_connect=False, blame=False)
        await asyncio.sleep(0)  # The transport closes its socket in the next turn of the loop.

    def data_received(self, data: bytes) -> None:
        """Replies come in the order of the MGETs."""
        try:
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not _NOTHING:
                if not isinstance(reply, hiredis.PushNotification):
                    self._answer(reply)
        except hiredis.HiredisError:  # What listens there does not speak Redis.
            self._fail("connection", to_connect=False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Redis closed the connection."""
        if self._transport is not None:
            self._fail("connection", to_connect=False)

    def _send(self) -> None:
        self._send_is_due = False
        if self._transport is None:
            if self._connecting is None and self._waiting:
                self._connecting = asyncio.create_task(self._connect())
            return
        while self._waiting and len(self._under_way) < _UNDER_WAY_MAX:
            if len(self._waiting) <= _NAMES_MAX:
                asked, self._waiting = self._waiting, {}
            else:
                asked = {name: self._waiting.pop(name) for name in list(islice(self._waiting, _NAMES_MAX))}
            if not self._under_way:
                self._deadline = asyncio.get_running_loop().call_later(self._command_s, self._late)
            self._under_way.append(asked)
            self._stats.asked(len(asked))
            self._transport.write(hiredis.pack_command(("MGET", *asked, self._heartbeat)))  # type: ignore[arg-type]  # its stub says one

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_s):
                self._connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
                await self._connection.connect()
        except (RedisError, OSError, ValueError, TimeoutError) as error:
            self._connecting = None
            self._fail("timeout" if isinstance(error, TimeoutError) else "connection", to_connect=True)
            return
        except asyncio.CancelledError:
            self._connecting = None
            self._breaker.abandoned()
            raise
        self._connecting = None
        self._replies = hiredis.Reader(notEnoughData=_NOTHING)
        # The one reach behind redis-py's interface; a test would notice if it moved.
        self._transport = self._connection._writer.transport
        self._transport.set_protocol(self)
        self._send()

    def _answer(self, reply: Any) -> None:
        if not self._under_way:
            return self._fail("connection", to_connect=False)
        asked = self._under_way.popleft()
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(self._command_s, self._late) if self._under_way else None
        if isinstance(reply, hiredis.ReplyError):  # The server is there and says no.
            self._breaker.succeeded()
            self._stats.redis_failed("response")
            _tell(asked.values(), Unavailable("response"))
        elif not _is_answer(reply, len(asked) + 1):  # Anything that speaks the protocol may stand at the address.
            _tell(asked.values(), Unavailable("connection"))
            return self._fail("connection", to_connect=False)
        else:
            self._breaker.succeeded()
            heartbeat = reply[-1]
            for futures, value in zip(asked.values(), reply, strict=False):
                answer = (value, heartbeat)
                for future in futures:
                    if not future.done():  # Whoever waited may have been cancelled.
                        future.set_result(answer)
        if self._waiting:
            self._send()
        return None

    def _late(self) -> None:
        self._fail("timeout", to_connect=False)

    def _fail(self, reason: str, *, to_connect: bool, blame: bool = True) -> None:
        """Tells everybody, also who has only just asked: a second deadline would not make them happier."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            self._connection._close()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if blame:
            self._breaker.failed(to_connect=to_connect)
            self._stats.redis_failed(reason)
        answer = Unavailable(reason)
        while self._under_way:
            _tell(self._under_way.popleft().values(), answer)
        waiting, self._waiting = self._waiting, {}
        _tell(waiting.values(), answer)


_NOTHING: Final = object()


def _is_answer(reply: Any, length: int) -> bool:
    return isinstance(reply, list) and len(reply) == length and all(value is None or type(value) is bytes for value in reply)


def _tell(waiting: Iterable[list[asyncio.Future[Value | Unavailable]]], answer: Unavailable) -> None:
    for futures in waiting:
        for future in futures:
            if not future.done():
                future.set_result(answer)
