"""What asks in the benchmark of HTTP."""

from __future__ import annotations

import asyncio

import pytest

from adapters.entrypoints.bench.http_load import CONNECTIONS, Order, ask, body_bytes


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nx: y", 12),
        (b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 7", 7),
        (b"HTTP/1.1 304 Not Modified\r\netag: x", 0),
    ],
)
def test_a_body_is_as_long_as_the_head_says(head: bytes, expected: int) -> None:
    assert body_bytes(head) == expected


async def test_every_connection_asks_again_when_it_is_answered_however_the_answer_arrives() -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-le")
                await writer.drain()
                await asyncio.sleep(0.001)
                writer.write(b"ngth: 3\r\n\r\nab")
                await asyncio.sleep(0.001)
                writer.write(b"c")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answered = await ask(Order(port, "/x", "Accept: */*\r\n", 0.1))
    assert answered.rates.keys() == {"404"}
    assert answered.answered >= CONNECTIONS
    assert requests[0] == f"GET /x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n".encode()
