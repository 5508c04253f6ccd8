"""Bounds on what a client may send, in bytes and in time: no body is larger, slower or longer under way than its route allows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.http.problems import Kind, Problem

# These carry no body that any route reads.
_WITHOUT_BODY: Final = frozenset(("GET", "HEAD", "OPTIONS"))
# What a form with a file may have besides the file: boundaries, heads of parts, other fields.
FORM_OVERHEAD_BYTES_MAX: Final = 64 * 1024
# How much more than its bound is taken of a body that is too large, so that its sender reads why it was refused.
_DROPPED_BYTES_MAX: Final = 1024 * 1024

TOO_LARGE: Final = Kind("body-too-large", 413, "The body is too large")
TOO_SLOW: Final = Kind("body-too-slow", 408, "The body did not arrive in time")


@dataclass(frozen=True, slots=True)
class BodyBounds:
    """How much a body may have, how long it may go without a byte, and how long it may take in all.

    `too_large` is what a client is told whose body has more; None: how many bytes it may have.
    """

    bytes_max: int
    idle_s_max: float = 10.0
    total_s_max: float = 30.0
    too_large: str | None = None

    def __post_init__(self) -> None:
        if not (self.bytes_max > 0 and 0 < self.idle_s_max <= self.total_s_max):
            raise ValueError(f"no body could keep to {self}")


class BodyRefused(HTTPException):
    """A body that is not read any further. An HTTPException, because FastAPI takes any other one for a body that is no JSON."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(kind.status, detail)
        self.problem = Problem(kind, detail)


async def answer_refused(_: Request, error: Exception) -> Response:
    """The problem document, as an exception handler."""
    if not isinstance(error, BodyRefused):
        raise error
    return error.problem.response()


class BodyLimits:
    """ASGI middleware: 413 for a body above its bound, before it is read where its length is told; 408 for one that does not come.

    `routes` are the bounds of paths for which `default` is not right. What comes too late or is too much is raised, as BodyRefused, where
    the route reads the body.
    """

    def __init__(self, app: ASGIApp, *, default: BodyBounds, routes: Mapping[str, BodyBounds]) -> None:
        self._app = app
        self._default = default
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] in _WITHOUT_BODY:
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._routes.get(scope["path"], self._default), _told_length(scope))

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start" and not await body.ends():
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, body.receive, send_after_body)


class _Body:
    """The body of one request, as it arrives.

    Most clients read no answer before they have sent everything, and lose it if the connection is closed meanwhile. So what a route leaves
    unread is taken and dropped before the answer goes out, as long as it keeps the bounds of a body that is read, and a little more.
    """

    def __init__(self, receive: Receive, bounds: BodyBounds, told_length: int | None) -> None:
        self._receive = receive
        self._bounds = bounds
        self._bytes = 0
        self._told_length = told_length or 0
        self._ended = False
        self._too_slow = False
        self._clock = asyncio.get_running_loop().time
        self._too_late_at = self._clock() + bounds.total_s_max

    async def receive(self) -> Message:
        """See ASGI. Raises BodyRefused."""
        if self._ended:  # A route that waits for the client to go away may wait as long as it likes.
            return await self._receive()
        if self._told_length > self._bounds.bytes_max:
            raise self._too_large()
        message = await self._next()
        if self._bytes > self._bounds.bytes_max:
            raise self._too_large()
        return message

    async def ends(self) -> bool:
        """Drops what is left of the body; False if that is more than anybody should wait for."""
        bytes_max = self._bounds.bytes_max + _DROPPED_BYTES_MAX
        if self._told_length > bytes_max:
            return False
        while not self._ended:
            if self._too_slow or self._bytes > bytes_max:
                return False
            with suppress(BodyRefused):
                await self._next()
        return True

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(min(self._bounds.idle_s_max, self._too_late_at - self._clock())):
                message = await self._receive()
        except TimeoutError:
            self._too_slow = True
            seconds = f"{self._bounds.idle_s_max:g} s without a byte, {self._bounds.total_s_max:g} s in all"
            raise BodyRefused(TOO_SLOW, f"a body may take {seconds}") from None
        self._bytes += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        return message

    def _too_large(self) -> BodyRefused:
        return BodyRefused(TOO_LARGE, self._bounds.too_large or f"the body may have {self._bounds.bytes_max} bytes at most")


def _told_length(scope: Scope) -> int | None:
    told = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(told) if told.isdigit() else None
