"""A relay of bytes between a client and a real server, that counts what passes and stops passing on demand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

import sqlalchemy as sa


class Proxy:
    """Listens on a local port and passes everything on to a server.

    `sent` are the bytes of the client as they came, one item a piece: a small request is one piece. While `silent` is set, answers are kept
    back, as by a server that hangs. With `tls` it speaks TLS to clients.
    """

    def __init__(self, host: str | None, port: int | None, path: str | None) -> None:
        self._address = (host, port, path)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent: list[bytes] = []
        self.port = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.tls: ssl.SSLContext | None = None

    @classmethod
    def to_redis(cls, url: str) -> Self:
        """A proxy to the server of a redis:// or unix:// URL."""
        if url.startswith("unix://"):
            return cls(None, None, url.removeprefix("unix://").partition("?")[0])
        place = sa.make_url(url)
        return cls(place.host, place.port, None)

    @classmethod
    def to_postgres(cls, url: str) -> Self:
        """A proxy to the server of a PostgreSQL URL; `postgres_url` is where clients find it."""
        place = sa.make_url(url)
        folder = place.query.get("host")
        if folder is not None:
            return cls(None, None, f"{folder}/.s.PGSQL.{place.query.get('port', '5432')}")
        return cls(place.host, place.port, None)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def redis_url(self) -> str:
        """For clients of Redis."""
        return f"redis://127.0.0.1:{self.port}/0"

    def postgres_url(self, url: str) -> str:
        """The same database, user and password as in `url`, through here."""
        place = sa.make_url(url)
        return (
            place.set(host="127.0.0.1", port=self.port, query={"sslmode": "disable"}).render_as_string(hide_password=False)
        )  # fmt: skip

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._tasks.add(task)
        host, port, path = self._address
        other_writer: asyncio.StreamWriter | None = None
        try:
            if path is not None:
                other_reader, other_writer = await asyncio.open_unix_connection(path)
            else:
                other_reader, other_writer = await asyncio.open_connection(host, port)
            there = asyncio.create_task(self._pass(reader, other_writer, count=True))
            back = asyncio.create_task(self._pass(other_reader, writer, count=False))
            try:
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.wait([there, back])
        except asyncio.CancelledError:
            pass  # The end of the proxy, which waits for us.
        finally:
            for end in (writer, other_writer):
                if end is not None:
                    end.close()
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 20):
                if count:
                    self.sent.append(piece)
                else:
                    await self.answering.wait()
                writer.write(piece)
                await writer.drain()


def redis_commands(sent: list[bytes]) -> list[str]:
    """The names of the commands in what a Redis client sent, one or more a piece."""
    names = []
    for piece in sent:
        lines = piece.split(b"\r\n")
        names += [
            lines[place + 2].decode().upper()
            for place, line in enumerate(lines)
            if line[:1] == b"*" and line[1:].isdigit() and lines[place + 1][:1] == b"$"  # An argument may begin like a command.
        ]
    return names


def postgres_statements(sent: list[bytes]) -> list[str]:
    """The first words of the statements that a PostgreSQL client ran on its one connection, since it was opened."""
    prepared: dict[bytes, bytes] = {}
    statements: list[bytes] = []
    for kind, body in _postgres_messages(sent):
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            prepared[name] = text
        elif kind == b"B":
            statements.append(prepared[body.split(b"\0", 2)[1]])
        elif kind == b"Q":
            statements.append(body.rstrip(b"\0"))
    return [statement.split()[0].decode().rstrip(";") for statement in statements]


def postgres_round_trips(sent: list[bytes]) -> int:
    """How often a PostgreSQL client waited for an answer on its one connection: its Query, Sync and Flush messages."""
    return sum(kind in (b"Q", b"S", b"H") for kind, _ in _postgres_messages(sent))


def _postgres_messages(sent: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    data = b"".join(sent)
    at = int.from_bytes(data[:4], "big")  # The first message has no kind.
    while at < len(data):
        kind, length = data[at : at + 1], int.from_bytes(data[at + 1 : at + 5], "big")
        yield kind, data[at + 5 : at + 1 + length]
        at += 1 + length
