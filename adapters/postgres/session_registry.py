"""The registry of therapy sessions in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.errors import once_more_if_connection_was_lost
from adapters.postgres.session_rows import from_row, mvc_to_json, to_row
from adapters.postgres.tables import therapy_session as session_t
from domain.errors import StorageError, StorageUnavailable
from domain.mvc import GivenMvc
from domain.ports import PageKey, PatientSessions, SessionQuery, SessionRegistry
from domain.session import SessionId, SessionState, TherapySession, stays_settled

_ROUNDS_MAX: Final = 5

_ID: Final = sa.bindparam("id", type_=sa.Uuid)
_DIGEST: Final = sa.bindparam("sha256", type_=sa.Text)
_NEWEST_FIRST: Final = (session_t.c.registered_at.desc(), session_t.c.session_id.desc())

# Whatever it conflicts with: the id or the digest.
REGISTER: Final = postgresql.insert(session_t).on_conflict_do_nothing().returning(session_t)
KNOWN: Final = sa.select(session_t).where((session_t.c.session_id == _ID) | (session_t.c.recording_sha256 == _DIGEST)).limit(1)
_FIND: Final = sa.select(session_t).where(session_t.c.session_id == _ID)
_FIND_BY_RECORDING: Final = sa.select(session_t).where(session_t.c.recording_sha256 == _DIGEST)
_RECENT: Final = sa.select(session_t).order_by(*_NEWEST_FIRST).limit(sa.bindparam("limit", type_=sa.Integer))
_DUPLICATES: Final = sa.select(session_t).where(session_t.c.same_as == _ID).order_by(session_t.c.registered_at, session_t.c.session_id)
_IDENTIFY: Final = (
    sa.update(session_t)
    .where(session_t.c.session_id == _ID)
    .values(
        recording_sha256=_DIGEST,
        size_bytes=sa.bindparam("size", type_=sa.BigInteger),
        state=sa.case((session_t.c.state == SessionState.DUPLICATE.value, SessionState.PROCESSING.value), else_=session_t.c.state),
        same_as=None,
    )
    .returning(session_t)
)
_original: Final = session_t.alias("original")
_DUPLICATE: Final = (
    sa.update(session_t)
    .where(
        session_t.c.session_id == _ID,
        _original.c.recording_sha256 == _DIGEST,
        _original.c.session_id != session_t.c.session_id,
        _original.c.state != SessionState.FAILED.value,
    )
    .values(
        recording_sha256=None,
        size_bytes=sa.bindparam("size", type_=sa.BigInteger),
        state=SessionState.DUPLICATE.value,
        progress=1.0,
        failure=None,
        same_as=_original.c.session_id,
    )
    .returning(session_t)
)
_GIVE_AWAY: Final = (
    sa.update(session_t)
    .where(session_t.c.recording_sha256 == _DIGEST, session_t.c.session_id != _ID, session_t.c.state == SessionState.FAILED.value)
    .values(recording_sha256=None)
    .returning(session_t.c.session_id)
)
_KEEP: Final = (
    sa.update(session_t)
    .where(session_t.c.session_id == _ID)
    .values(recording_key=sa.func.coalesce(session_t.c.recording_key, sa.bindparam("key", type_=sa.Text)))
    .returning(session_t)
)
_ATTRIBUTE: Final = (
    sa.update(session_t)
    .where(session_t.c.session_id == _ID)
    .values(patient_code=sa.func.coalesce(session_t.c.patient_code, sa.bindparam("patient", type_=sa.Text)))
    .returning(session_t)
)
_MVC: Final = sa.bindparam("given", type_=session_t.c.mvc.type)
_HAS_MVC: Final = session_t.c.mvc.is_not_distinct_from(_MVC)
_STAYS: Final = sa.or_(_HAS_MVC, session_t.c.state == SessionState.DUPLICATE.value)
_REMEASURE: Final = (
    sa.update(session_t)
    .where(session_t.c.session_id == _ID)
    .values(
        mvc=_MVC,
        state=sa.case((_STAYS, session_t.c.state), else_=SessionState.PROCESSING.value),
        progress=sa.case((_STAYS, session_t.c.progress), else_=0.0),
        failure=sa.case((_STAYS, session_t.c.failure), else_=None),
    )
    .returning(session_t)
)
_COMPLETE: Final = (
    sa.update(session_t)
    .where(session_t.c.session_id == _ID)
    .values(
        state=sa.case((_HAS_MVC, SessionState.COMPLETED.value), else_=session_t.c.state),
        progress=sa.case((_HAS_MVC, 1.0), else_=session_t.c.progress),
        failure=sa.case((_HAS_MVC, None), else_=session_t.c.failure),
        recorded_at=sa.func.coalesce(sa.bindparam("moment", type_=sa.DateTime(timezone=False)), session_t.c.recorded_at),
    )
    .returning(session_t)
)
_NAMING: Final = sa.select(session_t.c.recording_key).where(
    session_t.c.recording_key == sa.any_(sa.bindparam("keys", type_=postgresql.ARRAY(sa.Text)))
)
_FORGET: Final = sa.delete(session_t).where(session_t.c.session_id == _ID).returning(session_t.c.session_id)


class PostgresSessionRegistry(SessionRegistry):
    """The registry over an engine that belongs to the caller. Every method but `identify` is one statement."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def register(self, session: TherapySession) -> TherapySession:
        """See the port."""
        known_by = {"id": session.session_id, "sha256": session.recording_sha256}

        async def register() -> sa.Row[Any]:
            async with self._autocommit.connect() as connection:
                for _ in range(_ROUNDS_MAX):
                    row = (await connection.execute(REGISTER, to_row(session))).one_or_none()
                    row = row or (await connection.execute(KNOWN, known_by)).one_or_none()
                    if row is not None:
                        return row
                    # What was in the way has been erased in between.
            raise _unsettled(session.session_id)

        return from_row(await once_more_if_connection_was_lost(register))

    async def find(self, session_id: SessionId) -> TherapySession | None:
        """See the port."""
        return _first(await self._rows(_FIND, {"id": session_id}))

    async def find_by_recording(self, recording_sha256: str) -> TherapySession | None:
        """See the port."""
        return _first(await self._rows(_FIND_BY_RECORDING, {"sha256": recording_sha256}))

    async def recent(self, limit: int) -> Sequence[TherapySession]:
        """See the port."""
        return [from_row(row) for row in await self._rows(_RECENT, {"limit": limit})]

    async def page(self, query: SessionQuery, *, limit: int, after: PageKey | None = None) -> Sequence[TherapySession]:
        """See the port."""
        columns = session_t.c
        select = sa.select(session_t).where(columns.state != SessionState.DUPLICATE.value)
        if after is not None:
            end = sa.tuple_(sa.literal(after.registered_at, sa.DateTime(timezone=True)), sa.literal(after.session_id, sa.Uuid))
            select = select.where(sa.tuple_(columns.registered_at, columns.session_id) < end)
        if query.patients is not None:
            select = select.where(columns.patient_code == sa.any_(sa.literal(sorted(query.patients), postgresql.ARRAY(sa.Text))))
        if query.patient_code is not None:
            select = select.where(columns.patient_code == query.patient_code)
        if query.state is not None:
            select = select.where(columns.state == query.state.value)
        if query.recorded_from is not None:
            select = select.where(columns.recorded_at >= query.recorded_from)
        if query.recorded_before is not None:
            select = select.where(columns.recorded_at < query.recorded_before)
        return [from_row(row) for row in await self._rows(select.order_by(*_NEWEST_FIRST).limit(limit))]

    async def patients(self, among: frozenset[str] | None, *, limit: int, after: str | None = None) -> Sequence[PatientSessions]:
        """See the port. Groups come in the order of the index on patients, so that no more is read than a page needs."""
        columns = session_t.c
        select = (
            sa.select(
                columns.patient_code,
                sa.func.count().label("sessions"),
                sa.func.max(columns.recorded_at).label("last_recorded_at"),
                sa.func.max(columns.registered_at).label("last_registered_at"),
            )
            .where(columns.patient_code.is_not(None), columns.state != SessionState.DUPLICATE.value)
            .group_by(columns.patient_code)
            .order_by(columns.patient_code)
            .limit(limit)
        )
        if after is not None:
            select = select.where(columns.patient_code > after)
        if among is not None:
            select = select.where(columns.patient_code == sa.any_(sa.literal(sorted(among), postgresql.ARRAY(sa.Text))))
        rows = await self._rows(select)
        return [PatientSessions(row.patient_code, row.sessions, row.last_recorded_at, row.last_registered_at) for row in rows]

    async def naming(self, recording_keys: Collection[str]) -> frozenset[str]:
        """See the port."""
        return frozenset(row.recording_key for row in await self._rows(_NAMING, {"keys": list(recording_keys)}))

    async def identify(self, session_id: SessionId, recording_sha256: str, size_bytes: int) -> TherapySession | None:
        """See the port. That no two sessions have one digest is a constraint of the table's, so of two who come at once one gets it."""
        values = {"id": session_id, "sha256": recording_sha256, "size": size_bytes}
        for _ in range(_ROUNDS_MAX):
            try:
                return _first(await self._rows(_IDENTIFY, values))
            except StorageError as error:
                if not isinstance(error.__cause__, sa.exc.IntegrityError):
                    raise
                duplicate = _first(await self._rows(_DUPLICATE, values))
            if duplicate is not None:
                return duplicate
            # The other one failed, or either has been erased in between.
            await self._rows(_GIVE_AWAY, values)
        raise _unsettled(session_id)

    async def duplicates_of(self, session_id: SessionId) -> Sequence[TherapySession]:
        """See the port."""
        return [from_row(row) for row in await self._rows(_DUPLICATES, {"id": session_id})]

    async def keep(self, session_id: SessionId, recording_key: str) -> TherapySession | None:
        """See the port."""
        return _first(await self._rows(_KEEP, {"id": session_id, "key": recording_key}))

    async def attribute(self, session_id: SessionId, patient_code: str) -> TherapySession | None:
        """See the port."""
        return _first(await self._rows(_ATTRIBUTE, {"id": session_id, "patient": patient_code}))

    async def note(
        self,
        session_id: SessionId,
        state: SessionState,
        *,
        progress: float = 0.0,
        failure: str | None = None,
        recorded_at: datetime | None = None,
    ) -> bool:
        """See the port."""
        columns = session_t.c
        settled = columns.state.in_([now.value for now in SessionState if stays_settled(now, state)])

        def unless_settled(column: sa.Column[Any], value: object) -> Any:
            return sa.case((settled, column), else_=sa.literal(value, column.type))

        note = (
            sa.update(session_t)
            .where(columns.session_id == session_id)
            .values(
                state=unless_settled(columns.state, state.value),
                progress=unless_settled(columns.progress, progress),
                failure=unless_settled(columns.failure, failure),
                recorded_at=sa.func.coalesce(sa.literal(recorded_at, columns.recorded_at.type), columns.recorded_at),
            )
            .returning(columns.session_id)
        )
        return bool(await self._rows(note))

    async def remeasure(self, session_id: SessionId, mvc: GivenMvc) -> TherapySession | None:
        """See the port."""
        return _first(await self._rows(_REMEASURE, {"id": session_id, "given": mvc_to_json(mvc)}))

    async def complete(self, session_id: SessionId, mvc: GivenMvc | None, *, recorded_at: datetime | None) -> TherapySession | None:
        """See the port."""
        return _first(await self._rows(_COMPLETE, {"id": session_id, "given": mvc_to_json(mvc), "moment": recorded_at}))

    async def forget(self, session_id: SessionId) -> bool:
        """See the port."""
        return bool(await self._rows(_FORGET, {"id": session_id}))

    async def _rows(self, statement: sa.Executable, values: dict[str, Any] | None = None) -> Sequence[sa.Row[Any]]:
        async def rows() -> Sequence[sa.Row[Any]]:
            async with self._autocommit.connect() as connection:
                return (await connection.execute(statement, values)).all()

        return await once_more_if_connection_was_lost(rows)


def _unsettled(session_id: SessionId) -> StorageUnavailable:
    return StorageUnavailable(f"session {session_id} was registered and erased over and over while it was written; try again")


def _first(rows: Sequence[sa.Row[Any]]) -> TherapySession | None:
    return from_row(rows[0]) if rows else None
