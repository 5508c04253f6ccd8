"""What the registry asks of PostgreSQL costs what a page needs, however many sessions there are."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.session_registry import PostgresSessionRegistry

_MANY = """
    INSERT INTO therapy_session (session_id, file_name, registered_at, patient_code, state, progress)
    SELECT gen_random_uuid(), 'a.c3d', now() - n * interval '1 minute', 'P' || n % 2000, 'completed', 1 FROM generate_series(1, 20000) AS n
"""


def scans(plan: dict[str, Any]) -> list[dict[str, Any]]:
    below = [found for part in plan.get("Plans", []) for found in scans(part)]
    return [plan, *below] if "Relation Name" in plan else below


async def test_a_page_of_patients_reads_their_sessions_alone_by_the_index(fresh_engine: AsyncEngine) -> None:
    asked: list[tuple[str, Any]] = []
    async with fresh_engine.begin() as connection:
        await connection.execute(sa.text(_MANY))
    async with fresh_engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(sa.text("VACUUM ANALYZE therapy_session"))

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(fresh_engine.sync_engine, "before_cursor_execute", note)
    page = await PostgresSessionRegistry(fresh_engine).patients(None, limit=20, after="P1")
    sa.event.remove(fresh_engine.sync_engine, "before_cursor_execute", note)
    assert [patient.sessions for patient in page] == [10] * 20
    [(statement, parameters)] = asked
    async with fresh_engine.connect() as connection:
        explained = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        [scan] = scans(explained.scalar_one()[0]["Plan"])
    assert scan["Index Name"] == "ix_therapy_session_patient_code"
    assert scan["Actual Rows"] <= 21 * 10
