"""The servers of a run: a PostgreSQL and a Valkey of its own, or given ones, of which it touches nothing but what it makes itself.

On given servers a run makes a database and a key prefix of a random name, both beginning with emg_bench_, and removes them at its end.
Its own servers live in a temporary folder. The Valkey then listens on a local TCP port, with a password, because some peers speak TCP
only: so all reach it in the same way. PostgreSQL is reached at its socket.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis.asyncio as redis
import sqlalchemy as sa
from redis.asyncio.connection import parse_url
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.embedded import EmbeddedPostgres, EmbeddedValkey
from adapters.entrypoints.bench.ports import free_ports
from adapters.postgres import migrations
from adapters.postgres.address import asyncpg_url
from adapters.postgres.engine import PostgresPolicy, create_engine
from domain.errors import InvalidSettings

MEMORY_BYTES: Final = 2 << 30
_CONNECT_S: Final = 5.0
_KEYS_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run may do as it likes: an empty database with this program's tables, and the keys that begin with the prefix."""

    database_url: str
    redis_url: str
    key_prefix: str
    own: OwnServers | None
    """The servers themselves, if they are the run's own: they may be frozen and killed."""
    versions: dict[str, str]


@asynccontextmanager
async def open_servers(database_url: str | None, redis_url: str | None) -> AsyncIterator[Place]:
    """The place of a run, removed at its end. Servers that are not given are the run's own."""
    name = f"emg_bench_{secrets.token_hex(4)}"
    own = OwnServers()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(own.aclose)
        # First what may turn out to be of no use, before anything is made on a server that is given.
        keys = await own.open_redis() if redis_url is None else redis_url
        redis_version = await _version_of_redis(keys)
        server = await asyncio.to_thread(own.open_postgres) if database_url is None else database_url
        postgres_version, database = await _new_database(server, name)
        if database_url is not None:
            stack.push_async_callback(_drop_database, server, name)
        if redis_url is not None:
            stack.push_async_callback(forget_keys, keys, name)
        versions = postgres_version | redis_version
        yield Place(database, keys, name, own if database_url is None and redis_url is None else None, versions)


class OwnServers:
    """A PostgreSQL and a Valkey of the run's own, in a temporary folder."""

    def __init__(self) -> None:
        # Not below a folder of the user's: PostgreSQL may run as another user than root.
        self._folder = Path(tempfile.mkdtemp(prefix="emg-bench-")).resolve()
        self._postgres, self._valkey = EmbeddedPostgres(self._folder), EmbeddedValkey(self._folder)
        self._password = secrets.token_hex(16)
        (self._port,) = free_ports(1)

    def open_postgres(self) -> str:
        """Starts it; its URL."""
        return self._postgres.open()

    async def open_redis(self) -> str:
        """Starts it, or starts it again, empty, at the same address; its URL."""
        socket_url = await asyncio.to_thread(self._valkey.open)
        async with redis.Redis.from_url(socket_url) as client:
            settings = {"maxmemory": MEMORY_BYTES, "bind": "127.0.0.1", "port": self._port, "requirepass": self._password}
            for setting, value in settings.items():  # One by one: the password last, since it shuts this door too.
                await client.config_set(setting, str(value))
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def redis_pid(self) -> int | None:
        """Its process, looked for among all of the machine; None if it does not run."""
        return self._valkey.pid()

    def signal_redis(self, number: signal.Signals, pid: int | None = None) -> None:
        """Freezes it (SIGSTOP), lets it go on (SIGCONT) or ends it (SIGKILL). A `pid` that is known spares looking for it."""
        pid = pid or self.redis_pid()
        if pid is not None:
            os.kill(pid, number)

    async def aclose(self) -> None:
        """Ends both, and removes the folder."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        # Neither need save anything: their data go too.
        self.signal_redis(signal.SIGKILL)
        if (pid := self._postgres.pid()) is not None:
            os.kill(pid, signal.SIGQUIT)
        try:
            self._valkey.close()
            self._postgres.close()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


async def _new_database(server_url: str, name: str) -> tuple[dict[str, str], str]:
    """The server's version, and the URL of a new database there, with our tables."""
    try:
        async with _administering(server_url) as connection:
            version = (await connection.execute(sa.text("SHOW server_version"))).scalar_one()
            await connection.execute(sa.text(f"CREATE DATABASE {name}"))
    except (sa.exc.DBAPIError, OSError, TimeoutError) as error:
        raise InvalidSettings(f"--database-url: no database could be made there for the run ({type(error).__name__})") from error
    url = asyncpg_url(server_url).set(database=name).render_as_string(hide_password=False)
    engine = create_engine(url, PostgresPolicy())
    try:
        await migrations.upgrade(engine)
    except BaseException:
        await _drop_database(server_url, name)
        raise
    finally:
        await engine.dispose()
    return {"PostgreSQL": str(version).split()[0]}, url


async def _drop_database(server_url: str, name: str) -> None:
    async with _administering(server_url) as connection:
        await connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@asynccontextmanager
async def _administering(url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_engine(url, PostgresPolicy(statement_s=60.0)).execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def _version_of_redis(url: str) -> dict[str, str]:
    try:
        if not url.startswith("redis://") or "host" not in parse_url(url):
            # Some peers would make something else of it, such as a server at the usual port.
            raise InvalidSettings("--redis-url: not all peers know TLS, sockets and sentinels; give redis://user:password@host:6379/0")
        async with redis.Redis.from_url(url, socket_connect_timeout=_CONNECT_S) as client:
            server = await client.info("server")
    except ValueError:
        raise InvalidSettings("--redis-url is not a Redis URL; one looks like redis://user:password@host:6379/0") from None
    except redis.RedisError as error:
        raise InvalidSettings(f"--redis-url: nobody answers there ({type(error).__name__})") from error
    name = "Valkey" if "valkey_version" in server else "Redis"
    return {name: str(server.get("valkey_version") or server["redis_version"])}


async def forget_keys(url: str, prefix: str) -> None:
    """Removes the keys of a run. The prefix is random and stands somewhere in each, since some peers put words of their own before it."""
    async with redis.Redis.from_url(url) as client:
        found: list[bytes] = []
        async for key in client.scan_iter(match=f"*{prefix}*", count=_KEYS_AT_ONCE):
            found.append(key)
            if len(found) >= _KEYS_AT_ONCE:
                await client.unlink(*found)
                found.clear()
        if found:
            await client.unlink(*found)
