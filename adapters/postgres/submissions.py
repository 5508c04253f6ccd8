"""Registers sessions together with whatever else must happen in the same transaction, such as queueing their processing.

The queue lives in the same PostgreSQL, behind an adapter of its own that knows no SQLAlchemy. What the two share is this: an SQL expression
with :named parameters, evaluated in the transaction that registers the session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.errors import once_more_if_connection_was_lost
from adapters.postgres.session_registry import KNOWN
from adapters.postgres.session_rows import from_row, mvc_to_json, to_row
from adapters.postgres.tables import therapy_session as session_t
from domain.errors import StorageUnavailable
from domain.mvc import GivenMvc
from domain.ports import Submitted
from domain.session import SessionId, SessionState, TherapySession

Together = Callable[[TherapySession], tuple[str, Mapping[str, object]]]
"""For a session as it is registered: an SQL expression, and the values of its :named parameters."""

_ROUNDS_MAX: Final = 5
_RECEIVE_AGAIN: Final = (
    sa.update(session_t)
    .where(session_t.c.session_id == sa.bindparam("id", type_=sa.Uuid), session_t.c.state == SessionState.FAILED.value)
    .values(state=SessionState.RECEIVED.value, progress=0.0, failure=None)
    .returning(session_t)
)
_DUPLICATE: Final = session_t.c.state == SessionState.DUPLICATE.value
_MVC: Final = sa.bindparam("given", type_=session_t.c.mvc.type)
_REMEASURE: Final = (
    sa.update(session_t)
    .where(session_t.c.session_id == sa.bindparam("id", type_=sa.Uuid), session_t.c.mvc.is_distinct_from(_MVC))
    .values(
        mvc=_MVC,
        state=sa.case((_DUPLICATE, session_t.c.state), else_=SessionState.RECEIVED.value),
        progress=sa.case((_DUPLICATE, session_t.c.progress), else_=0.0),
        failure=None,
    )
    .returning(session_t)
)
_FIND: Final = sa.select(session_t).where(session_t.c.session_id == sa.bindparam("id", type_=sa.Uuid))


class PostgresSubmissions:
    """Transactions over an engine that belongs to the caller."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def submit(self, session: TherapySession, *, together_with: Together) -> Submitted:
        """Registers a session, or receives one that failed again, and evaluates `together_with` in that transaction: both or neither.

        A session that is known otherwise is returned as it is, and `together_with` is not evaluated. The transaction may run twice if its
        connection turns out to be dead.
        """

        async def register() -> Submitted | None:
            # Nearly all sessions are new. For those the transaction is one statement, and so one round trip: on a machine whose processors
            # are busy, each waits for its turn.
            expression, values = together_with(session)
            registered = {f"registered_{name}": value for name, value in to_row(session).items()}
            async with self._autocommit.connect() as connection:
                row = (await connection.execute(_register_and(expression), {**registered, **values})).one_or_none()
                if row is not None:
                    return Submitted(from_row(row), new=True)
                known_by = {"id": session.session_id, "sha256": session.recording_sha256}
                known = (await connection.execute(KNOWN, known_by)).one_or_none()
            if known is None:
                return None
            return (
                await receive_again(from_row(known)) if known.state == SessionState.FAILED.value else Submitted(from_row(known), new=False)
            )

        async def receive_again(known: TherapySession) -> Submitted | None:
            async with self._engine.begin() as connection:
                row = (await connection.execute(_RECEIVE_AGAIN, {"id": known.session_id})).one_or_none()
                if row is None:  # Somebody else has received it again, or erased it.
                    return None
                received = from_row(row)
                expression, values = together_with(received)
                await connection.execute(sa.select(sa.text(expression)), dict(values))
            return Submitted(received, new=False)

        for _ in range(_ROUNDS_MAX):
            submitted = await once_more_if_connection_was_lost(register)
            if submitted is not None:
                return submitted
            # What was in the way has been erased in between.
        raise StorageUnavailable(f"session {session.session_id} was registered and erased over and over; try again")

    async def remeasure(self, session_id: SessionId, mvc: GivenMvc, *, together_with: Together) -> TherapySession | None:
        """Gives a session other MVC values, receives it again, and evaluates `together_with` in that transaction: both or neither.

        A session that has these values is returned as it is, and `together_with` is not evaluated; None if it is not registered. The
        transaction may run twice if its connection turns out to be dead: the second time the values are there, or nothing is.
        """

        async def remeasure() -> TherapySession | None:
            async with self._engine.begin() as connection:
                row = (await connection.execute(_REMEASURE, {"id": session_id, "given": mvc_to_json(mvc)})).one_or_none()
                if row is None:
                    known = (await connection.execute(_FIND, {"id": session_id})).one_or_none()
                    return None if known is None else from_row(known)
                received = from_row(row)
                expression, values = together_with(received)
                await connection.execute(sa.select(sa.text(expression)), dict(values))
            return received

        return await once_more_if_connection_was_lost(remeasure)

    async def execute(self, sql: str, values: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """Runs one statement in a transaction of its own."""

        async def execute() -> Sequence[tuple[Any, ...]]:
            async with self._autocommit.connect() as connection:
                return [tuple(row) for row in await connection.execute(sa.text(sql), dict(values))]

        return await once_more_if_connection_was_lost(execute)


@lru_cache(maxsize=8)
def _register_and(expression: str) -> sa.Select[Any]:
    """Registers a session and evaluates an expression if it was not known; then the one row is the session."""
    columns = {column.name: sa.bindparam(f"registered_{column.name}", type_=column.type) for column in session_t.columns}
    registered = postgresql.insert(session_t).values(columns).on_conflict_do_nothing().returning(session_t).cte("registered")
    return sa.select(*registered.columns, sa.text(f"({expression})"))
