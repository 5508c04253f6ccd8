"""Counts, times and logs what was answered: routes, statuses and seconds, never paths, queries or bodies."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Final, Protocol, runtime_checkable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.ports import PartHealth

# What no route was found for, so that a scanner's paths do not become series and log lines of their own.
NO_ROUTE: Final = "none"
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

# The client went away before there was an answer. A status of nginx's, known to who reads logs.
CLIENT_GONE: Final = 499


@runtime_checkable
class HttpMeter(Protocol):
    """Takes note of what the HTTP surface does, and tells it."""

    @abstractmethod
    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is the path's pattern, of which there are few."""

    @abstractmethod
    def storage_event(self, outcome: str) -> None:
        """A storage event was taken: received, known or ignored."""

    @abstractmethod
    def seen(self, parts: Mapping[str, PartHealth]) -> None:
        """How the parts of the system do now."""

    @abstractmethod
    def exposition(self) -> tuple[bytes, str]:
        """Everything that was noted, and its media type."""


class Observation:
    """ASGI middleware: tells the meter of every request, and logs it where `log_requests`.

    The route is the pattern of the path that the router found, in `scope["route"]`, or what a handler that needs no router left in
    `scope["route_pattern"]`.
    """

    def __init__(
        self, app: ASGIApp, *, meter: Callable[[], HttpMeter], log_requests: bool, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._meter_of_app = meter
        self._meter: HttpMeter | None = None
        self._log = structlog.get_logger(__name__) if log_requests else None
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = self.clock()
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            status = status or 500
            raise
        finally:
            self.note(scope, status or CLIENT_GONE, self.clock() - begin)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Tells of one request."""
        method = scope["method"]
        if method not in _METHODS:
            method = "other"
        route: str = scope.get("route_pattern") or getattr(scope.get("route"), "path", None) or NO_ROUTE
        if self._meter is None:
            self._meter = self._meter_of_app()
        self._meter.answered(method, route, status, seconds)
        if self._log is not None:
            self._log.info("request_answered", method=method, route=route, status=status, duration_ms=round(seconds * 1000, 2))
