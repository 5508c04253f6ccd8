"""Reads of one turn of the event loop leave as one MGET, on a connection of their own.

This is the path that matters most, so it is the one place that speaks to the connection itself: redis-py connects and introduces itself
(TLS, AUTH, SELECT, RESP3), then its transport is given this protocol. A read costs a future and its share of a write and of a parse;
through redis-py's client it costs a pool, a stream and a timer of its own (docs/adr/0005).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import hiredis
import redis.asyncio as redis
from redis.exceptions import RedisError

from adapters.ending import end
from adapters.redis_cache.batch import NO_REDIS, Batch, Reading
from adapters.redis_cache.breaker import Breaker, BreakerState
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.server import Unavailable, is_refusal
from adapters.redis_cache.stats import CacheStats

_UNDER_WAY_MAX: Final = 2
# A reader can go elsewhere before it is certain that the server has failed.
_PATIENCE: Final = 0.5
# A timer may come so much too early.
_TIMER_S: Final = 0.001
_BUFFER_BYTES: Final = 256 * 1024


class CoalescedReads(asyncio.BufferedProtocol):
    """Reads entries, or their headers, together with the heartbeat; each once a command, whoever and however many ask for it.

    Two commands may be under way; who asks meanwhile gathers for the next, so the busier it is, the larger they are. Cancelling a reader
    touches nobody else. Readers wait for half of the deadline; then they, and all who come until an answer does, are told that
    Redis is slow. At the deadline itself the connection is given up, and tried again beside the reads: a Redis that hangs takes connections
    and says nothing, and one deadline tells as much as many.
    """

    def __init__(self, client: redis.Redis, breaker: Breaker, policy: CachePolicy, stats: CacheStats | None = None) -> None:
        self._stats = stats or CacheStats()
        self._client = client
        self._breaker = breaker
        self._command_s = policy.command_s
        self._patience_s = _PATIENCE * policy.command_s
        self._since_s = 0.0
        self._connect_s = policy.connect_s
        self._heartbeat = ""
        self._connection: Any = None
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._buffer = bytearray(_BUFFER_BYTES)
        self._replies = hiredis.Reader(notEnoughData=_NOTHING)
        self._entries = Batch(headers_only=False)
        self._headers = Batch(headers_only=True)
        self._under_way: deque[Batch] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        self._send_is_due = False
        self._slow = False
        self._hung = False

    def read(self, entry: str, heartbeat: str) -> Reading:
        """The values under both names, at one moment after this call. All calls name the same heartbeat."""
        return self._join(self._entries, entry, heartbeat)

    def read_header(self, question: bytes, heartbeat: str) -> Reading:
        """As `read`, of the entry only its header (empty if there is none): for who has the rest. `question` is its `header_question`."""
        return self._join(self._headers, question, heartbeat)

    async def aclose(self) -> None:
        """Closes the connection; who still waits is told that Redis is unavailable."""
        await end(self._connecting)
        self._fail("connection", to_connect=False, blame=False)
        if self._deadline is not None:
            self._deadline.cancel()
        await asyncio.sleep(0)  # The transport closes its socket in the next turn of the loop.

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - the protocol's signature
        """Where the transport puts what arrives: always the same memory, which would else be taken and given back for every reply."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Replies come in the order of the commands."""
        try:
            self._replies.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type]  # any buffer will do
            next_reply, under_way = self._replies.gets, self._under_way
            while (reply := next_reply()) is not _NOTHING:
                if isinstance(reply, hiredis.PushNotification):
                    continue
                if under_way and under_way[0].preamble:
                    # An error here comes again, as the answer to EXEC.
                    under_way[0].preamble -= 1
                    continue
                self._answer(reply)
        except hiredis.HiredisError:  # What listens there does not speak Redis.
            self._fail("connection", to_connect=False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Redis closed the connection."""
        if self._transport is not None:
            self._fail("connection", to_connect=False)

    def _join(self, batch: Batch, key: str | bytes, heartbeat: str) -> Reading:
        loop = asyncio.get_running_loop()
        future: Reading = loop.create_future()
        if self._transport is None and (reason := self._kept_out()) is not None:
            future.set_result(Unavailable(reason))
            return future
        if self._slow:
            future.set_result(Unavailable("slow"))
            return future
        self._heartbeat = heartbeat
        if batch.ask(key, future):
            self._stats.count("reads_joined")
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
            self._ask(self._transport, batch)

    def _ask(self, transport: asyncio.Transport, batch: Batch) -> None:
        self._under_way.append(batch)
        if len(self._under_way) == 1:
            self._expect_an_answer()
        self._stats.asked(len(batch.waiting), headers_only=batch.headers_only)
        transport.write(batch.command(self._heartbeat))

    def _kept_out(self) -> str | None:
        """Why nobody waits for a connection now, which is tried beside them if it is time; None if it is worth waiting for."""
        if not self._hung and self._breaker.state is BreakerState.CLOSED:
            return None
        if self._connecting is None:
            if not self._breaker.allows():
                return "breaker_open"
            self._connecting = asyncio.create_task(self._connect())
        return "reconnecting"

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_s):
                self._connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
                await self._connection.connect()
        except (RedisError, OSError, ValueError, TimeoutError) as error:
            self._connecting = None
            refused = is_refusal(error)
            self._fail("timeout" if isinstance(error, TimeoutError) else "connection", to_connect=True, refused=refused)
            return
        except asyncio.CancelledError:
            self._connecting = None
            self._breaker.abandoned()
            raise
        self._connecting = None
        self._replies = hiredis.Reader(notEnoughData=_NOTHING)
        # The one reach behind redis-py's interface; a test would notice if it moved.
        transport = self._transport = self._connection._writer.transport
        transport.set_protocol(self)
        self._hung = False
        if self._entries.waiting or self._headers.waiting:
            self._send()
        else:  # Of the probe the heartbeat alone is asked.
            self._ask(transport, Batch(headers_only=False))

    def _answer(self, reply: Any) -> None:
        if not self._under_way:
            return self._fail("connection", to_connect=False)
        batch = self._under_way.popleft()
        self._expect_an_answer()
        if isinstance(reply, hiredis.ReplyError):  # The server is there and says no.
            self._breaker.succeeded()
            self._stats.redis_failed("response")
            self._refused(str(reply))
            batch.tell(Unavailable("response"))
        elif not isinstance(reply, list) or not batch.answer(reply):  # Anything that speaks the protocol may stand at the address.
            batch.tell(NO_REDIS)
            return self._fail("connection", to_connect=False)
        else:
            self._breaker.succeeded()
        if self._entries.waiting or self._headers.waiting:
            self._send()
        return None

    def _refused(self, error: str) -> None:
        """What a server says instead of an answer, for who can make use of it."""

    def _expect_an_answer(self) -> None:
        """Begins to wait for the answer to the oldest command under way, if there is one."""
        self._slow = False
        loop = asyncio.get_running_loop()
        self._since_s = loop.time()
        if self._deadline is None and self._under_way:
            self._deadline = loop.call_later(self._patience_s, self._look)

    def _look(self) -> None:
        """Looks how long the oldest command has been waited for. One timer serves many commands: to set one for each costs as much as to
        send it."""
        self._deadline = None
        if not self._under_way:
            return
        loop = asyncio.get_running_loop()
        waited_s = loop.time() - self._since_s + _TIMER_S
        if waited_s >= self._command_s:
            self._late()
            return
        if waited_s >= self._patience_s and not self._slow:
            self._slow = True
            self._tell_everybody(Unavailable("slow"))
        next_s = self._command_s if self._slow else self._patience_s
        self._deadline = loop.call_later(next_s - waited_s + _TIMER_S, self._look)

    def _late(self) -> None:
        self._hung = True
        self._fail("timeout", to_connect=False)

    def _fail(self, reason: str, *, to_connect: bool, refused: bool = False, blame: bool = True) -> None:
        """Tells everybody, also who has only just asked: a second deadline would not make them happier."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            self._connection._close()
        if blame:
            self._breaker.failed(to_connect=to_connect, refused=refused)
            self._stats.redis_failed(reason)
        self._tell_everybody(Unavailable(reason))
        self._under_way.clear()
        self._expect_an_answer()

    def _tell_everybody(self, answer: Unavailable) -> None:
        for batch in self._under_way:  # Which still has its answer to come.
            batch.tell(answer)
        for batch in (self._headers, self._entries):
            batch.tell(answer)
            batch.waiting = {}


_NOTHING: Final = object()
