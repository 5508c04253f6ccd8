"""Who treats whom, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.errors import once_more_if_connection_was_lost
from adapters.postgres.tables import patient_assignment as assignment_t
from adapters.postgres.tables import therapy_session as session_t
from domain.ports import PatientAssignments

_PATIENTS: Final = sa.select(assignment_t.c.patient_code).where(assignment_t.c.therapist == sa.bindparam("therapist", type_=sa.Text))
_INSERT: Final = postgresql.insert(assignment_t)
_ASSIGN: Final = _INSERT.on_conflict_do_update(
    index_elements=[assignment_t.c.patient_code], set_={"therapist": _INSERT.excluded.therapist}
).returning(assignment_t.c.therapist)
_PATIENT: Final = sa.bindparam("patient", type_=sa.Text)
_THERAPIST: Final = sa.bindparam("claimant", type_=sa.Text)
_IS_THEIRS: Final = sa.exists().where(assignment_t.c.patient_code == _PATIENT, assignment_t.c.therapist == _THERAPIST)
_IS_ASSIGNED: Final = sa.exists().where(assignment_t.c.patient_code == _PATIENT)
_HAS_SESSIONS: Final = sa.exists().where(session_t.c.patient_code == _PATIENT)
_OPEN: Final = sa.or_(_IS_THEIRS, sa.not_(sa.or_(_IS_ASSIGNED, _HAS_SESSIONS)))
_IS_OPEN: Final = sa.select(_OPEN.label("is_open"))
# What is seen to be open may have been assigned meanwhile: whoever comes second waits for the first one's row, writes what is there, and so
# is told it in the same statement.
_CLAIM: Final = (
    _INSERT.from_select([assignment_t.c.patient_code, assignment_t.c.therapist], sa.select(_PATIENT, _THERAPIST).where(_OPEN))
    .on_conflict_do_update(index_elements=[assignment_t.c.patient_code], set_={"therapist": assignment_t.c.therapist})
    .returning(assignment_t.c.therapist)
)


class PostgresPatientAssignments(PatientAssignments):
    """The assignments over an engine that belongs to the caller. Every method is one statement."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def patients_of(self, therapist: str) -> frozenset[str]:
        """See the port."""
        return frozenset(row.patient_code for row in await self._rows(_PATIENTS, {"therapist": therapist}))

    async def assign(self, patient_code: str, therapist: str) -> None:
        """See the port."""
        await self._rows(_ASSIGN, {"patient_code": patient_code, "therapist": therapist})

    async def is_open_to(self, patient_code: str, therapist: str) -> bool:
        """See the port."""
        return bool((await self._rows(_IS_OPEN, {"patient": patient_code, "claimant": therapist}))[0].is_open)

    async def claim(self, patient_code: str, therapist: str) -> bool:
        """See the port."""
        rows = await self._rows(_CLAIM, {"patient": patient_code, "claimant": therapist})
        return bool(rows) and rows[0].therapist == therapist

    async def _rows(self, statement: sa.Executable, values: dict[str, Any]) -> Sequence[sa.Row[Any]]:
        async def rows() -> Sequence[sa.Row[Any]]:
            async with self._autocommit.connect() as connection:
                return (await connection.execute(statement, values)).all()

        return await once_more_if_connection_was_lost(rows)
