"""The registry of therapy sessions in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.errors import once_more_if_connection_was_lost
from adapters.postgres.tables import therapy_session as session_t
from domain.ports import SessionRegistry
from domain.session import SessionId, TherapySession

_REGISTER: Final = postgresql.insert(session_t).on_conflict_do_nothing(index_elements=[session_t.c.session_id])
_FIND: Final = sa.select(session_t).where(session_t.c.session_id == sa.bindparam("session_id", type_=sa.Uuid))
_RECENT: Final = (
    sa.select(session_t)
    .order_by(session_t.c.registered_at.desc(), session_t.c.session_id.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


class PostgresSessionRegistry(SessionRegistry):
    """The registry over an engine that belongs to the caller."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def register(self, session: TherapySession) -> TherapySession:
        """See the port."""

        async def register() -> sa.Row[Any]:
            async with self._autocommit.connect() as connection:
                await connection.execute(_REGISTER, _to_row(session))
                # Never None: what was there already stays, and nothing deletes registered sessions.
                return (await connection.execute(_FIND, {"session_id": session.session_id})).one()

        return _from_row(await once_more_if_connection_was_lost(register))

    async def find(self, session_id: SessionId) -> TherapySession | None:
        """See the port."""
        rows = await self._read(_FIND, {"session_id": session_id})
        return _from_row(rows[0]) if rows else None

    async def recent(self, limit: int) -> Sequence[TherapySession]:
        """See the port."""
        return [_from_row(row) for row in await self._read(_RECENT, {"limit": limit})]

    async def _read(self, statement: sa.Executable, values: dict[str, Any]) -> Sequence[sa.Row[Any]]:
        async def rows() -> Sequence[sa.Row[Any]]:
            async with self._autocommit.connect() as connection:
                return (await connection.execute(statement, values)).all()

        return await once_more_if_connection_was_lost(rows)


def _to_row(session: TherapySession) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "recording_sha256": session.recording_sha256,
        "file_name": session.file_name,
        "size_bytes": session.size_bytes,
        "recorded_at": session.recorded_at,
        "registered_at": session.registered_at,
    }


def _from_row(row: sa.Row[Any]) -> TherapySession:
    return TherapySession(
        session_id=SessionId(row.session_id),
        recording_sha256=row.recording_sha256,
        file_name=row.file_name,
        size_bytes=row.size_bytes,
        recorded_at=row.recorded_at,
        registered_at=row.registered_at,
    )
