"""Registers sessions together with whatever else must happen in the same transaction, such as queueing their processing.

The queue lives in the same PostgreSQL, behind an adapter of its own that knows no SQLAlchemy. What the two share is this: SQL with :named
parameters, run in the transaction that registers the session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.postgres.errors import once_more_if_connection_was_lost
from adapters.postgres.session_registry import KNOWN, REGISTER, from_row, to_row
from adapters.postgres.tables import therapy_session as session_t
from domain.errors import StorageUnavailable
from domain.ports import Submitted
from domain.session import SessionState, TherapySession

Execute = Callable[[str, Mapping[str, object]], Awaitable[Sequence[tuple[Any, ...]]]]
"""Runs SQL with :named parameters; its rows."""

_ROUNDS_MAX: Final = 5
_RECEIVE_AGAIN: Final = (
    sa.update(session_t)
    .where(session_t.c.session_id == sa.bindparam("id", type_=sa.Uuid), session_t.c.state == SessionState.FAILED.value)
    .values(state=SessionState.RECEIVED.value, progress=0.0, failure=None)
    .returning(session_t)
)


class PostgresSubmissions:
    """Transactions over an engine that belongs to the caller."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def submit(self, session: TherapySession, *, together_with: Callable[[Execute, TherapySession], Awaitable[None]]) -> Submitted:
        """Registers a session, or receives one that failed again, and runs `together_with` in that transaction: both or neither.

        A session that is known otherwise is returned as it is, and `together_with` is not run. The transaction may run twice if its
        connection turns out to be dead.
        """

        async def submit() -> Submitted | None:
            async with self._engine.begin() as connection:
                row = (await connection.execute(REGISTER, to_row(session))).one_or_none()
                new = row is not None
                if row is None:
                    known_by = {"id": session.session_id, "sha256": session.recording_sha256}
                    known = (await connection.execute(KNOWN, known_by)).one_or_none()
                    if known is None:
                        return None
                    row = (await connection.execute(_RECEIVE_AGAIN, {"id": known.session_id})).one_or_none()
                    if row is None:
                        return Submitted(from_row(known), new=False)
                registered = from_row(row)
                await together_with(_on(connection), registered)
            return Submitted(registered, new)

        for _ in range(_ROUNDS_MAX):
            submitted = await once_more_if_connection_was_lost(submit)
            if submitted is not None:
                return submitted
            # What was in the way has been erased in between.
        raise StorageUnavailable(f"session {session.session_id} was registered and erased over and over; try again")

    async def execute(self, sql: str, values: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """Runs one statement in a transaction of its own."""

        async def execute() -> Sequence[tuple[Any, ...]]:
            async with self._autocommit.connect() as connection:
                return await _on(connection)(sql, values)

        return await once_more_if_connection_was_lost(execute)


def _on(connection: AsyncConnection) -> Execute:
    async def execute(sql: str, values: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.execute(sa.text(sql), dict(values))]

    return execute
