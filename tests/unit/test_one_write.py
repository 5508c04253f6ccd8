"""What is written in one turn of the event loop is sent together, in order, and nothing is lost or held for long."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import uvicorn

from adapters.entrypoints.one_write import OneWriteProtocol
from adapters.entrypoints.serving import server_options
from tests.patience import eventually

LARGE = 1_000_000


class Sent(asyncio.Transport):
    """A transport that remembers each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []

    def writelines(self, list_of_data: Any) -> None:
        self.calls.append(b"".join(list_of_data))

    def close(self) -> None:
        self.calls.append(b"closed")

    def is_closing(self) -> bool:
        return False


@pytest.fixture
async def connected() -> tuple[Any, Sent]:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(app, **server_options())
    config.load()
    protocol, sent = OneWriteProtocol(config, uvicorn.Server(config).server_state, {}), Sent()
    protocol.connection_made(sent)
    return protocol.transport, sent


async def test_a_head_and_its_body_are_sent_together(connected: tuple[Any, Sent]) -> None:
    transport, sent = connected
    transport.write(b"head ")
    transport.write(b"body")
    assert sent.calls == []
    await asyncio.sleep(0)
    transport.write(b"next")
    await asyncio.sleep(0)
    assert sent.calls == [b"head body", b"next"]


async def test_what_is_large_is_not_held(connected: tuple[Any, Sent]) -> None:
    transport, sent = connected
    transport.write(b"head ")
    transport.write(b"x" * LARGE)
    transport.write(b"more")
    assert sent.calls == [b"head " + b"x" * LARGE]
    await asyncio.sleep(0)
    assert sent.calls[1:] == [b"more"]


async def test_many_small_writes_are_not_held_either(connected: tuple[Any, Sent]) -> None:
    transport, sent = connected
    for _ in range(200):
        transport.write(b"x" * 1_000)
    assert len(sent.calls) >= 2, "a writer must not run ahead of its reader without bound"


async def test_closing_sends_what_was_written_before(connected: tuple[Any, Sent]) -> None:
    transport, sent = connected
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert sent.calls == [b"last words", b"closed"]


async def test_a_served_answer_is_whole() -> None:
    body = bytes(range(256)) * 4_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        for start in range(0, len(body), 10_000):
            await send({"type": "http.response.body", "body": body[start : start + 10_000], "more_body": start + 10_000 < len(body)})

    server = uvicorn.Server(uvicorn.Config(app, port=0, **server_options()))
    serving = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: asyncio.sleep(0, server.started), bool)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for closing in ("keep-alive", "close"):
                answer = await client.get("/", headers={"connection": closing})
                assert answer.content == body
    finally:
        server.should_exit = True
        await serving
