"""Brings procrastinate's tables up to the installed version of procrastinate, from the SQL that it ships.

Which of its migrations have been applied is kept in a table of ours: a fresh database gets procrastinate's whole schema, an older one the
migrations that are new. So a new version of procrastinate needs no migration of this program's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg
from procrastinate.schema import SchemaManager

from adapters.queue.connections import QueueConnections, translated
from domain.errors import StorageNotReady

# One upgrade at a time, whatever the number of processes. The number is arbitrary and must never change.
_LOCK: Final = 2_117_730_918_552_064

_TABLE: Final = "CREATE TABLE processing_queue_migration (name text PRIMARY KEY)"
_EXISTS: Final = "SELECT to_regclass('procrastinate_jobs') IS NOT NULL, to_regclass('processing_queue_migration') IS NOT NULL"


def migrations() -> dict[str, Path]:
    """The migrations that the installed procrastinate ships, by name, the oldest first."""
    return {path.name: path for path in sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))}


async def upgrade(connections: QueueConnections) -> tuple[str, ...]:
    """Upgrades in one transaction; the names of the migrations that were new. Any number of processes may call this at once."""
    with translated():
        async with await psycopg.AsyncConnection.connect(connections.conninfo(), **connections.options()) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            queue, ours = await _existing(connection)
            if queue and not ours:
                raise StorageNotReady("the database holds a procrastinate of another program; DATABASE_URL must name a database of its own")
            if queue:
                missing = await _missing(connection)
                statements = [path.read_bytes() for path in missing.values()]
            else:
                missing = migrations()
                statements = [_TABLE.encode(), SchemaManager.get_schema().encode()]
            for statement in statements:
                await connection.execute(statement)
            async with connection.cursor() as cursor:
                await cursor.executemany("INSERT INTO processing_queue_migration VALUES (%s)", [(name,) for name in missing])
    return tuple(missing)


async def check(connections: QueueConnections) -> None:
    """Raises StorageNotReady if the queue's tables are missing or older than the installed procrastinate."""
    with translated():
        async with await psycopg.AsyncConnection.connect(connections.conninfo(), **connections.options()) as connection:
            if await _existing(connection) != (True, True):
                raise StorageNotReady("the queue's tables are not there; run: emg-sessions db upgrade")
            if await _missing(connection):
                raise StorageNotReady("the queue's tables are older than this program; run: emg-sessions db upgrade")


async def _existing(connection: psycopg.AsyncConnection) -> tuple[bool, bool]:
    async with connection.cursor() as cursor:
        row = await (await cursor.execute(_EXISTS)).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return bool(row[0]), bool(row[1])


async def _missing(connection: psycopg.AsyncConnection) -> dict[str, Path]:
    async with connection.cursor() as cursor:
        applied = {row[0] for row in await (await cursor.execute("SELECT name FROM processing_queue_migration")).fetchall()}
    return {name: path for name, path in migrations().items() if name not in applied}
