"""How the database does."""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import migrations
from adapters.postgres.errors import translated
from domain.ports import PartHealth, WatchedPart

# One round trip: a missing table is an answer, not an error.
_LOOK: Final = sa.text("SELECT current_setting('server_version'), to_regclass('alembic_version') IS NOT NULL")
_REVISION: Final = sa.text("SELECT version_num FROM alembic_version")


class PostgresHealth(WatchedPart):
    """Whether the database answers, and whether its schema is this program's."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def look(self) -> PartHealth:
        """See the port."""
        begin = time.perf_counter()
        with translated():
            async with self._autocommit.connect() as connection:
                version, has_schema = (await connection.execute(_LOOK)).one()
                revision = await connection.scalar(_REVISION) if has_schema else None
        facts: dict[str, str | int | float | None] = {
            "server": f"PostgreSQL {version.split()[0]}",
            "answer_ms": round((time.perf_counter() - begin) * 1000, 3),
            "schema": revision,
        }
        if revision is not None and not migrations.is_numbered(revision):
            return PartHealth("unhealthy", migrations.UNKNOWN_REVISION, facts)
        if revision is None or revision < migrations.HEAD:
            found = f"has revision {revision}" if revision else "is missing"
            return PartHealth("unhealthy", f"its schema {found}, {migrations.HEAD} is needed: run `emg-sessions db upgrade`", facts)
        if revision > migrations.HEAD:
            # While a new version is rolled out, the old processes go on: migrations keep what they need.
            return PartHealth("degraded", f"its schema has revision {revision}, newer than this program's {migrations.HEAD}", facts)
        return PartHealth("healthy", None, facts)
