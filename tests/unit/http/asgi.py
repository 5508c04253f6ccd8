"""The smallest ASGI server: one request, its body in pieces, and what was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Answered:
    """What an application sent."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The only header of this name."""
        found = [value.decode() for key, value in self.headers if key == name.encode()]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None


async def ask(
    app: ASGIApp,
    method: str = "GET",
    path: str = "/",
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    pieces: Sequence[bytes | None] = (b"",),
    scope_type: str = "http",
    **extra: Any,
) -> Answered:
    """Asks once. A piece that is None never comes; after the last one the client waits."""
    answered = Answered()
    waiting = list(pieces)

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        piece = waiting.pop(0)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.status, answered.headers = message["status"], list(message["headers"])
        else:
            answered.body += message.get("body", b"")

    scope = {"type": scope_type, "method": method, "path": path, "headers": list(headers), "query_string": b"secret=1"} | extra
    await app(scope, receive, send)
    return answered


def answering(status: int = 200, headers: Sequence[tuple[bytes, bytes]] = (), *, reads_body: bool = False) -> ASGIApp:
    """An application that answers what it was sent."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while reads_body:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    return app
