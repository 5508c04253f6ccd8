"""The queue's tables come from the installed procrastinate, and follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import migrations
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.submissions import PostgresSubmissions
from adapters.queue import schema
from adapters.queue.connections import QueueConnections
from adapters.queue.jobs import ProcrastinateProcessingQueue
from adapters.queue.worker import ProcrastinateWorker
from domain.errors import StorageNotReady, StorageUnavailable
from domain.processing import ProcessingPolicy
from tests.contracts.processing import Practice
from tests.strategies import some_session

LATER = "99.00.00_01_pre_something_later.sql"


async def scalar(connections: QueueConnections, sql: str) -> object:
    async with await psycopg.AsyncConnection.connect(connections.conninfo()) as connection, connection.cursor() as cursor:
        row = await (await cursor.execute(sql.encode())).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
async def without_queue(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database with the program's tables alone."""
    engine = create_engine(empty_database_url, PostgresPolicy())
    await migrations.upgrade(engine)
    yield engine
    await engine.dispose()


async def test_a_fresh_database_gets_the_whole_schema_once(empty_database_url: str) -> None:
    connections = QueueConnections(database_url=empty_database_url)
    answers = await asyncio.gather(*(schema.upgrade(connections) for _ in range(4)))
    assert sorted(map(len, answers)) == [0, 0, 0, len(schema.migrations())]
    await schema.check(connections)


async def test_a_later_procrastinate_brings_its_migrations_once(
    queue_connections: QueueConnections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LATER).write_text("CREATE TABLE later (n integer); INSERT INTO later SELECT 100 * 5 % 7;")
    shipped = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: {**shipped, LATER: tmp_path / LATER})
    with pytest.raises(StorageNotReady, match="emg-sessions db upgrade"):
        await schema.check(queue_connections)
    assert await schema.upgrade(queue_connections) == (LATER,)
    assert await schema.upgrade(queue_connections) == ()
    assert await scalar(queue_connections, "SELECT count(*) FROM later") == 1
    await schema.check(queue_connections)


async def test_an_upgrade_that_fails_leaves_what_was_there(
    queue_connections: QueueConnections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LATER).write_text("CREATE TABLE later (n integer); SELECT no_such_function();")
    shipped = schema.migrations()
    with monkeypatch.context() as patched:
        patched.setattr(schema, "migrations", lambda: {**shipped, LATER: tmp_path / LATER})
        with pytest.raises(StorageNotReady):
            await schema.upgrade(queue_connections)
    assert await scalar(queue_connections, "SELECT to_regclass('later') IS NULL") is True
    await schema.check(queue_connections)


async def test_a_procrastinate_of_another_program_is_not_touched(fresh_database_url: str) -> None:
    connections = QueueConnections(database_url=fresh_database_url)
    await schema.upgrade(connections)
    async with await psycopg.AsyncConnection.connect(connections.conninfo()) as connection:
        await connection.execute("DROP TABLE processing_queue_migration")
    with pytest.raises(StorageNotReady, match="DATABASE_URL must name a database of its own"):
        await schema.upgrade(connections)


async def test_missing_tables_are_named_with_the_command_that_makes_them(without_queue: AsyncEngine, empty_database_url: str) -> None:
    connections = QueueConnections(database_url=empty_database_url)
    queue = ProcrastinateProcessingQueue(PostgresSubmissions(without_queue))
    worker = ProcrastinateWorker(connections, ProcessingPolicy(), stalled_s=30.0, kept_hours=1)
    session = some_session()
    with pytest.raises(StorageNotReady, match="emg-sessions db upgrade"):
        await schema.check(connections)
    with pytest.raises(StorageNotReady, match="emg-sessions db upgrade"):
        await worker.run(Practice(None), stop=asyncio.Event())  # type: ignore[arg-type]
    with pytest.raises(StorageNotReady, match="emg-sessions db upgrade"):
        await queue.depth()
    with pytest.raises(StorageNotReady, match="emg-sessions db upgrade"):
        await queue.submit(session)
    async with without_queue.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM therapy_session")).scalar_one() == 0


async def test_the_tables_of_the_program_and_of_the_queue_do_not_need_each_other(
    empty_database_url: str, without_queue: AsyncEngine
) -> None:
    await schema.upgrade(QueueConnections(database_url=empty_database_url))
    await migrations.downgrade(without_queue, revision="base")
    await migrations.upgrade(without_queue)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgres://u:p@h:5433/d", "postgresql://u:p@h:5433/d"),
        ("postgresql+asyncpg://u:p%40@h/d?ssl=require", "postgresql://u:p%40@h/d?sslmode=require"),
        ("postgresql://u@/d?host=/tmp/a b&port=5432", "postgresql://u@/d?host=%2Ftmp%2Fa%20b&port=5432"),
        ("postgresql://h/d?sslmode=disable", "postgresql://h/d?sslmode=disable"),
    ],
)
def test_an_address_is_what_libpq_knows(given: str, expected: str) -> None:
    conninfo = QueueConnections(database_url=given).conninfo()
    assert psycopg.conninfo.conninfo_to_dict(conninfo) == psycopg.conninfo.conninfo_to_dict(expected)


def test_what_an_address_says_of_the_connection_goes_before() -> None:
    options = QueueConnections(database_url="postgresql+asyncpg://h/d?connect_timeout=7&application_name=ours").options()
    assert not options.keys() & {"connect_timeout", "application_name"}
    assert "statement_timeout" in options["options"]


def test_an_address_is_not_shown() -> None:
    assert "hunter2" not in repr(QueueConnections(database_url="postgresql://u:hunter2@h/d"))


async def test_a_worker_that_cannot_reach_its_database_at_the_start_says_so(closed_port: int) -> None:
    connections = QueueConnections(database_url=f"postgresql://u:hunter2@127.0.0.1:{closed_port}/d")
    worker = ProcrastinateWorker(connections, ProcessingPolicy(), stalled_s=30.0, kept_hours=1)
    with pytest.raises(StorageUnavailable, match="DATABASE_URL") as caught:
        await worker.run(Practice(None), stop=asyncio.Event())  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)
