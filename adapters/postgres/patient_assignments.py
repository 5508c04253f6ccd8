"""Who treats whom, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.errors import once_more_if_connection_was_lost
from adapters.postgres.tables import patient_assignment as assignment_t
from domain.ports import PatientAssignments

_PATIENTS: Final = sa.select(assignment_t.c.patient_code).where(assignment_t.c.therapist == sa.bindparam("therapist", type_=sa.Text))
_INSERT: Final = postgresql.insert(assignment_t)
_ASSIGN: Final = _INSERT.on_conflict_do_update(
    index_elements=[assignment_t.c.patient_code], set_={"therapist": _INSERT.excluded.therapist}
).returning(assignment_t.c.therapist)
# Writes what is there already, so that it is locked and told in the same statement.
_ASSIGN_UNLESS_ASSIGNED: Final = _INSERT.on_conflict_do_update(
    index_elements=[assignment_t.c.patient_code], set_={"therapist": assignment_t.c.therapist}
).returning(assignment_t.c.therapist)


class PostgresPatientAssignments(PatientAssignments):
    """The assignments over an engine that belongs to the caller. Every method is one statement."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def patients_of(self, therapist: str) -> frozenset[str]:
        """See the port."""
        return frozenset(row.patient_code for row in await self._rows(_PATIENTS, {"therapist": therapist}))

    async def assign(self, patient_code: str, therapist: str, *, unless_assigned: bool = False) -> str:
        """See the port."""
        statement = _ASSIGN_UNLESS_ASSIGNED if unless_assigned else _ASSIGN
        rows = await self._rows(statement, {"patient_code": patient_code, "therapist": therapist})
        return str(rows[0].therapist)

    async def _rows(self, statement: sa.Executable, values: dict[str, Any]) -> Sequence[sa.Row[Any]]:
        async def rows() -> Sequence[sa.Row[Any]]:
            async with self._autocommit.connect() as connection:
                return (await connection.execute(statement, values)).all()

        return await once_more_if_connection_was_lost(rows)
