"""Fixtures for tests that need the truth; each folder's conftest imports those it needs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import migrations
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.queue import schema
from adapters.queue.connections import QueueConnections
from tests.servers import server_folder
from tests.topologies import Cluster

__all__ = ["closed_port", "cluster", "engine", "fresh_engine", "queue_connections"]


def upgrade(database_url: str) -> None:
    """Gives a database all tables, and leaves no connection to it; from any thread, whatever event loop it may be running."""

    async def run() -> None:
        engine = create_engine(database_url, PostgresPolicy())
        try:
            await migrations.upgrade(engine)
        finally:
            await engine.dispose()
        await schema.upgrade(QueueConnections(database_url=database_url))

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(run())).result()


@pytest.fixture(scope="session")
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on this worker's database, with the tables. Other tests leave their sessions there."""
    engine = create_engine(database_url, PostgresPolicy())
    try:
        await migrations.upgrade(engine)
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture
async def fresh_engine(fresh_database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database of the test's own, with the tables."""
    engine = create_engine(fresh_database_url, PostgresPolicy())
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture
def queue_connections(fresh_database_url: str) -> QueueConnections:
    """For workers on a database of the test's own, with the queue's tables."""
    return QueueConnections(database_url=fresh_database_url)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three primaries in a cluster (2 s): once for each worker, and to be left as it is."""
    with server_folder() as folder:
        with ThreadPoolExecutor(1) as beside:  # The fixture that asks for it may be in a loop already.
            started = beside.submit(asyncio.run, Cluster.start(folder, replicas=False)).result()
        try:
            yield started
        finally:
            started.stack.close()


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """A local port that refuses connections: taken, and not listened at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
