"""PostgreSQL without any cache: by SQLAlchemy, as this program reads it, and by bare asyncpg."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from adapters import document
from adapters.entrypoints.bench.documents import session_id_of
from adapters.entrypoints.bench.peers.peer import BatchPeer
from adapters.postgres.address import asyncpg_url
from adapters.postgres.engine import PostgresPolicy
from domain.analytics import SessionAnalytics


class Sqlalchemy(BatchPeer):
    """This program's own repository with CACHE=none."""

    name = "SQLAlchemy"
    how = "SQLAlchemy Core over asyncpg, a pool of 10, one statement on an autocommit connection; msgspec into the same dataclasses"
    documentation = "https://docs.sqlalchemy.org/en/20/core/connections.html#understanding-the-dbapi-level-autocommit-isolation-level"

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        return await self.truth.load(number)

    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """In one statement."""
        found = await self.truth.load_many(numbers)
        return [found.get(number) for number in numbers]

    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """There is nothing to fill."""

    async def drop(self, numbers: Sequence[int]) -> None:
        """Nor to drop."""


class Asyncpg(Sqlalchemy):
    """The driver alone."""

    name = "asyncpg"
    how = "asyncpg.create_pool(max_size=10), pool.fetchval of the document as text; msgspec into the same dataclasses"
    documentation = "https://magicstack.github.io/asyncpg/current/usage.html#connection-pools"

    _pool: asyncpg.Pool

    async def open(self) -> None:
        """Connects."""
        url = asyncpg_url(self.place.database_url).set(drivername="postgresql")
        place = {name: value for name, value in {**url.translate_connect_args(username="user"), **url.query}.items() if value}
        self._pool = await asyncpg.create_pool(**place, min_size=1, max_size=PostgresPolicy().pool_size)

    async def aclose(self) -> None:
        """Closes the pool."""
        await self._pool.close()

    async def get(self, number: int) -> SessionAnalytics | None:
        """See Peer."""
        query = "SELECT document::text FROM session_analytics WHERE session_id = $1"
        found: str | None = await self._pool.fetchval(query, session_id_of(number))
        return None if found is None else document.decode(found, of="the peer")

    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """In one statement."""
        query = "SELECT session_id, document::text FROM session_analytics WHERE session_id = ANY($1::uuid[])"
        wanted = [session_id_of(number) for number in numbers]
        rows = await self._pool.fetch(query, wanted)
        # Its UUIDs are a class of its own; a UUID's hash and equality are the standard library's.
        found: dict[UUID, SessionAnalytics] = {row[0]: document.decode(row[1], of="the peer") for row in rows}
        return [found.get(session_id) for session_id in wanted]
