"""Gives every request an id: on its response, and on every line that is logged while it is answered."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

from adapters.http.fields import Fields, fields_of

HEADER: Final = b"x-request-id"
# Logs find it by its name. Bound by structlog's own functions, it would cost six times as much.
REQUEST_ID: Final[ContextVar[str]] = ContextVar(f"{STRUCTLOG_KEY_PREFIX}request_id")

# What a sane sender writes; nothing that could break a line of a log or a header.
_SANE: Final = re.compile(rb"[A-Za-z0-9._:-]{8,128}")


def new_ids() -> Callable[[], bytes]:
    """A source of ids that no other process gives: random to this one, then counted. A hundred times as cheap as random ones."""
    process = secrets.token_hex(8).encode()
    numbers = count(1)
    return lambda: b"%s-%x" % (process, next(numbers))


class RequestIds:
    """ASGI middleware: takes a sane `X-Request-Id` over, else makes one. It is found in `scope["request_id"]`, too."""

    def __init__(self, app: ASGIApp, *, ids: Callable[[], bytes] | None = None) -> None:
        self._app = app
        self._ids = ids or new_ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = self.take(scope, fields_of(scope["headers"]))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], header]
            await send(message)

        bound = REQUEST_ID.set(scope["request_id"])
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            REQUEST_ID.reset(bound)

    def take(self, scope: Scope, fields: Fields) -> tuple[bytes, bytes]:
        """The header for the response; and the id in the scope."""
        value = fields.get(HEADER)
        if value is None or not _SANE.fullmatch(value):
            value = self._ids()
        scope["request_id"] = value.decode()
        return HEADER, value
