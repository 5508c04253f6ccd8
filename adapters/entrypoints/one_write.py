"""uvicorn's protocol, on a transport that sends all that is written in one turn of the event loop together.

uvicorn writes a response's head and its body one after the other, and uvloop sends each as it comes: two calls of the system, and a client
that is woken for half an answer. Of a cached answer that was a fifth of the server's work (docs/adr/0009).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# More than this is no head with a small body, and is sent at once, so that no writer runs ahead of its reader.
_HELD_BYTES_MAX: Final = 65_536


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's, but for the transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """See asyncio.BaseProtocol."""
        super().connection_made(cast(asyncio.Transport, _OneWrite(transport, self.loop)))


class _OneWrite:
    """A transport that holds back what is written until the turn ends. All else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, data: bytes) -> None:
        """See asyncio.WriteTransport."""
        if not self._held:
            self._loop.call_soon(self._send)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _HELD_BYTES_MAX:
            self._send()

    def close(self) -> None:
        """See asyncio.BaseTransport."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            self._transport.writelines(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
