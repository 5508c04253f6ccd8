"""Reads of one turn of the event loop leave as one MGET, on a connection of their own.

This is the path that matters most, so it is the one place that speaks to the connection itself: redis-py connects and introduces itself
(TLS, AUTH, SELECT, RESP3), then its transport is given this protocol. A read costs a future and its share of a write and of a parse;
through redis-py's client it costs a pool, a stream and a timer of its own (docs/adr/0005).
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import Any, Final, TypeAlias

import hiredis
import redis.asyncio as redis
from redis.exceptions import RedisError

from adapters.redis_cache.breaker import Breaker
from adapters.redis_cache.entry import HEADER_BYTES
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.server import Unavailable

_NAMES_MAX: Final = 256
_UNDER_WAY_MAX: Final = 2
# Fewer are not worth a second command.
_WORTH_HALVING: Final = 32
_BUFFER_BYTES: Final = 256 * 1024
_LAST_OF_HEADER: Final = HEADER_BYTES - 1

Value = tuple[bytes | None, bytes | None]
"""An entry, or its header, and the heartbeat, read at one moment."""
Reading: TypeAlias = "asyncio.Future[Value | Unavailable]"


class _Batch:
    """Reads that leave together: who waits for which key."""

    __slots__ = ("headers_only", "preamble", "waiting")

    def __init__(self, *, headers_only: bool) -> None:
        self.headers_only = headers_only
        self.waiting: dict[str, list[Reading]] = {}
        self.preamble = 0

    def ask(self, entry: str, future: Reading) -> None:
        waiting = self.waiting.get(entry)
        if waiting is None:
            self.waiting[entry] = [future]
        else:
            waiting.append(future)

    def split(self, *, halve: bool) -> _Batch:
        """Takes what may leave now: so many keys at most."""
        count = len(self.waiting)
        if halve and count >= _WORTH_HALVING:
            count = (count + 1) // 2
        if count == len(self.waiting) <= _NAMES_MAX:
            leaving, self.waiting = self.waiting, {}
        else:
            names = list(islice(self.waiting, min(_NAMES_MAX, count)))
            leaving = {name: self.waiting.pop(name) for name in names}
        batch = _Batch(headers_only=self.headers_only)
        batch.waiting = leaving
        return batch

    def command(self, heartbeat: str) -> bytes:
        """One atomic exchange, whose last reply is the list of values with the heartbeat at its end."""
        if not self.headers_only:
            return _command("MGET", *self.waiting, heartbeat)
        # The replies to MULTI and to each command it queues come first, and say nothing.
        self.preamble = len(self.waiting) + 2
        headers = (_command("GETRANGE", name, 0, _LAST_OF_HEADER) for name in self.waiting)
        return b"".join((_command("MULTI"), *headers, _command("GET", heartbeat), _command("EXEC")))

    def tell(self, answer: Unavailable) -> None:
        for futures in self.waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(answer)

    def answer(self, reply: list[Any]) -> bool:
        """Hands the values out; False if they are none."""
        heartbeat = reply[-1]
        if len(reply) != len(self.waiting) + 1 or not (heartbeat is None or type(heartbeat) is bytes):
            return False
        understood = True
        for futures, value in zip(self.waiting.values(), reply, strict=False):
            if type(value) is not bytes and value is not None:
                if not isinstance(value, hiredis.ReplyError):
                    understood = False
                value = None  # noqa: PLW2901 - of a key of another type no part can be read, which is how MGET sees it too
            answer = (value, heartbeat)
            for future in futures:
                if not future.done():  # Whoever waited may have been cancelled.
                    future.set_result(answer if understood else _NO_REDIS)
        return understood


class CoalescedReads(asyncio.BufferedProtocol):
    """Reads entries, or their headers, together with the heartbeat; each once a command, whoever and however many ask for it.

    Two commands may be under way; who asks meanwhile gathers for the next, so the busier it is, the larger they are. Cancelling a reader
    touches nobody else. All answers come within the deadline, or are Unavailable.
    """

    def __init__(self, client: redis.Redis, breaker: Breaker, policy: CachePolicy) -> None:
        self._client = client
        self._breaker = breaker
        self._command_s = policy.command_s
        self._connect_s = policy.connect_s
        self._heartbeat = ""
        self._connection: Any = None
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._buffer = bytearray(_BUFFER_BYTES)
        self._replies = hiredis.Reader(notEnoughData=_NOTHING)
        self._entries = _Batch(headers_only=False)
        self._headers = _Batch(headers_only=True)
        self._under_way: deque[_Batch] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        self._send_is_due = False

    def read(self, entry: str, heartbeat: str) -> Reading:
        """The values under both names, at one moment after this call. All calls name the same heartbeat."""
        return self._ask(self._entries, entry, heartbeat)

    def read_header(self, entry: str, heartbeat: str) -> Reading:
        """As `read`, of the entry only its header (empty if there is none): for who has the rest."""
        return self._ask(self._headers, entry, heartbeat)

    async def aclose(self) -> None:
        """Closes the connection; who still waits is told that Redis is unavailable."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        self._fail("connection", to_connect=False, blame=False)
        await asyncio.sleep(0)  # The transport closes its socket in the next turn of the loop.

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - the protocol's signature
        """Where the transport puts what arrives: always the same memory, which would else be taken and given back for every reply."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Replies come in the order of the commands."""
        try:
            self._replies.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type]  # any buffer will do
            while (reply := self._replies.gets()) is not _NOTHING:
                if not isinstance(reply, hiredis.PushNotification):
                    self._answer(reply)
        except hiredis.HiredisError:  # What listens there does not speak Redis.
            self._fail("connection", to_connect=False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Redis closed the connection."""
        if self._transport is not None:
            self._fail("connection", to_connect=False)

    def _ask(self, batch: _Batch, entry: str, heartbeat: str) -> Reading:
        loop = asyncio.get_running_loop()
        future: Reading = loop.create_future()
        if self._transport is None and self._connecting is None and not self._breaker.allows():
            future.set_result(Unavailable("breaker_open"))
            return future
        self._heartbeat = heartbeat
        batch.ask(entry, future)
        if not self._send_is_due:
            # Runs after everybody who is ready in this turn of the loop has asked.
            self._send_is_due = True
            loop.call_soon(self._send)
        return future

    def _send(self) -> None:
        self._send_is_due = False
        if self._transport is None:
            if self._connecting is None and (self._entries.waiting or self._headers.waiting):
                self._connecting = asyncio.create_task(self._connect())
            return
        while len(self._under_way) < _UNDER_WAY_MAX and (self._entries.waiting or self._headers.waiting):
            # Many leave as two halves, so that from then on the server works at one half while we work at the other.
            batch = (self._headers if self._headers.waiting else self._entries).split(halve=not self._under_way)
            if not self._under_way:
                self._deadline = asyncio.get_running_loop().call_later(self._command_s, self._late)
            self._under_way.append(batch)
            self._transport.write(batch.command(self._heartbeat))

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
        batch = self._under_way[0]
        if batch.preamble:
            # An error here comes again, as the answer to EXEC.
            batch.preamble -= 1
            return None
        self._under_way.popleft()
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(self._command_s, self._late) if self._under_way else None
        if isinstance(reply, hiredis.ReplyError):  # The server is there and says no.
            self._breaker.succeeded()
            batch.tell(Unavailable("response"))
        elif not isinstance(reply, list) or not batch.answer(reply):  # Anything that speaks the protocol may stand at the address.
            batch.tell(_NO_REDIS)
            return self._fail("connection", to_connect=False)
        else:
            self._breaker.succeeded()
        if self._entries.waiting or self._headers.waiting:
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
        answer = Unavailable(reason)
        while self._under_way:
            self._under_way.popleft().tell(answer)
        for batch in (self._headers, self._entries):
            batch.tell(answer)
            batch.waiting = {}


_NOTHING: Final = object()
_NO_REDIS: Final = Unavailable("connection")


def _command(*words: str | int) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub says one word
    return packed
