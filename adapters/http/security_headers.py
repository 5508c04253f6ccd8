"""Headers that keep a browser from doing more with a response than it is for."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY: Final = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",  # BokehJS sets style attributes and adds style elements for its plots
    "img-src 'self' data: blob:",  # its toolbar's icons and saved plots
    "font-src 'self'",
    "connect-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
))  # fmt: skip

HEADERS: Final = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# What is no page runs nothing, opens nothing and asks for nothing, whatever it is told: only what keeps it from being taken for one.
DATA_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_DATA: Final = frozenset((b"application/json", b"application/problem+json"))
_NAMES: Final = frozenset(name for name, _ in HEADERS)


class SecurityHeaders:
    """ASGI middleware: adds the headers to every response, fewer to data; one that a route set itself stays as the route set it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            # What was cached keeps the headers that it was cached with.
            if message["type"] == "http.response.start" and message["status"] != HTTPStatus.NOT_MODIFIED:
                headers = message["headers"]
                taken = _NAMES.intersection([name for name, _ in headers])
                added = DATA_HEADERS if any(name == b"content-type" and value in _DATA for name, value in headers) else HEADERS
                message["headers"] = [*headers, *added] if not taken else [*headers, *(pair for pair in added if pair[0] not in taken)]
            await send(message)

        await self._app(scope, receive, send_with_headers)
