"""Session analytics in PostgreSQL: the truth.

Reads and writes are single statements on autocommit connections, so each costs one round trip. A write is a call of a function in the
database, which tells the version that came of it; versions and the change log are the triggers' doing, so writes past this adapter count
like ours. Functions and triggers are in alembic/versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import document
from adapters.postgres.errors import once_more_if_connection_was_lost
from adapters.postgres.listener import Listener
from adapters.postgres.tables import session_analytics as analytics_t
from adapters.postgres.tables import session_analytics_store as store_t
from adapters.postgres.tables import session_analytics_version as version_t
from domain.analytics import SessionAnalytics
from domain.errors import StorageNotReady
from domain.ports import (
    AnalyticsAnswer,
    AnalyticsChange,
    ChangeFeed,
    Changes,
    DeleteReceipt,
    DocumentAnswer,
    Freshness,
    SaveReceipt,
    SessionAnalyticsRepository,
    VersionAnswer,
)
from domain.session import SessionId

# More distinct sessions than this in one look at the log are told as "everything": caches then start afresh, which is cheaper.
_CHANGES_MAX: Final = 5_000

# How much is decoded before the event loop has a turn: a millisecond's work.
_TURN_CHARACTERS: Final = 128 * 1024

# As text: msgspec reads it straight into the dataclasses, without a dict in between.
_DOCUMENT_TEXT: Final = sa.cast(analytics_t.c.document, sa.Text).label("document")
_READ: Final = (
    sa.select(analytics_t.c.session_id, version_t.c.version, _DOCUMENT_TEXT)
    .join(version_t, version_t.c.session_id == analytics_t.c.session_id)
)  # fmt: skip
_READ_ONE: Final = _READ.where(analytics_t.c.session_id == sa.bindparam("session_id", type_=sa.Uuid))
_READ_MANY: Final = _READ.where(analytics_t.c.session_id == sa.any_(sa.bindparam("session_ids", type_=postgresql.ARRAY(sa.Uuid))))
READS: Final = ((_READ_ONE, {"session_id": UUID(int=0)}), (_READ_MANY, {"session_ids": [UUID(int=0)]}))
"""What is asked when a cache goes away, with values to try it with."""
_READ_VERSIONS: Final = sa.select(version_t.c.session_id, version_t.c.version).where(
    version_t.c.session_id == sa.any_(sa.bindparam("session_ids", type_=postgresql.ARRAY(sa.Uuid)))
)
_READ_PRESENT_VERSION: Final = (
    sa.select(version_t.c.version)
    .join(analytics_t, version_t.c.session_id == analytics_t.c.session_id)
    .where(analytics_t.c.session_id == sa.bindparam("session_id", type_=sa.Uuid))
)  # fmt: skip
_SAVE: Final = sa.text("SELECT changed, version FROM session_analytics_save(:session_id, CAST(:document AS jsonb))").bindparams(
    sa.bindparam("session_id", type_=sa.Uuid), sa.bindparam("document", type_=sa.Text)
)
_DELETE: Final = sa.text("SELECT changed, version FROM session_analytics_delete(:session_id)").bindparams(
    sa.bindparam("session_id", type_=sa.Uuid)
)

# One statement, hence one snapshot: its xmin is the next position, because every transaction below it has ended, and what is committed
# later carries an xid at or above it. Polling by id instead would miss whoever commits out of order.
_CHANGES: Final = sa.text(f"""
    WITH seen AS (
      SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS position,
             (SELECT xid::text::bigint FROM session_analytics_change ORDER BY xid LIMIT 1) AS oldest,
             (SELECT log_trimmed FROM session_analytics_store) AS trimmed
    )
    SELECT seen.position, seen.oldest, seen.trimmed, change.session_id, change.version, change.everything
    FROM seen LEFT JOIN (
      SELECT session_id, max(version) AS version, session_id IS NULL AS everything
      FROM session_analytics_change WHERE xid >= CAST(CAST(:since AS text) AS xid8)
      GROUP BY session_id LIMIT {_CHANGES_MAX + 1}
    ) AS change ON true
""")  # noqa: S608 - the only thing put in is our own number
_STORE_ID: Final = sa.select(store_t.c.store_id)


class PostgresSessionAnalyticsRepository(SessionAnalyticsRepository, ChangeFeed):
    """The repository over an engine that belongs to the caller."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._listener = Listener(self._autocommit)

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """See the port. Every answer is fresh."""
        rows = await self._read(_READ_ONE, {"session_id": session_id})
        return _answer(rows[0]) if rows else None

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        """See the port."""
        if not session_ids:
            return {}
        rows = await self._read(_READ_MANY, {"session_ids": list(dict.fromkeys(session_ids))})
        answers, decoded = {}, 0
        for row in rows:
            if (decoded := decoded + len(row.document)) > _TURN_CHARACTERS:  # Others on this loop need not wait for all of them.
                await asyncio.sleep(0)
                decoded = 0
            answers[SessionId(row.session_id)] = _answer(row)
        return answers

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        """See the port. jsonb keeps neither key order nor spacing, so the canonical bytes are made anew."""
        answer = await self.get(session_id)
        return None if answer is None else document.of_answer(answer)

    async def get_version(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> VersionAnswer | None:
        """See the port. The document stays where it is."""
        rows = await self._read(_READ_PRESENT_VERSION, {"session_id": session_id})
        return VersionAnswer(rows[0].version, source="postgres", age_s=0.0) if rows else None

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        """See the port."""
        values = {"session_id": analytics.session_id, "document": document.encode_to_store(analytics).decode()}
        changed, version = await self._write(_SAVE, values)
        return SaveReceipt(version, changed=changed, fresh=True)

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        """See the port."""
        deleted, version = await self._write(_DELETE, {"session_id": session_id})
        return DeleteReceipt(version, fresh=True) if deleted else None

    async def store_id(self) -> UUID:
        """See ChangeFeed."""
        rows = await self._read(_STORE_ID, {})
        if not rows:
            raise StorageNotReady("the table session_analytics_store is empty; restore its row, or run: emg-sessions db upgrade")
        store_id: UUID = rows[0].store_id
        return store_id

    async def changes_since(self, position: int | None) -> Changes:
        """See ChangeFeed. A position is a transaction id."""
        # Whoever keeps positions may hand us anything: what is no transaction id is asked as the first and told as unknown.
        since = position if position is not None and 0 <= position < 1 << 63 else None
        asked = {"since": str(since or 0)}
        rows = await self._listener.read(_CHANGES, asked) or await self._read(_CHANGES, asked)
        now, oldest, trimmed = rows[0].position, rows[0].oldest, rows[0].trimmed
        changed = [row for row in rows if row.everything is not None]
        # A position above the present one comes from before a restore from backup. Of the oldest transaction in a trimmed log, part may be
        # gone; and who emptied the log by hand is taken to have trimmed it.
        forgotten = since is None or since > now or (trimmed is not False and (oldest is None or since <= oldest))
        if forgotten or len(changed) > _CHANGES_MAX or any(row.everything for row in changed):
            return Changes(now, changes=None)
        return Changes(now, tuple(AnalyticsChange(SessionId(row.session_id), row.version) for row in changed))

    async def versions_of(self, session_ids: Collection[SessionId]) -> dict[SessionId, int]:
        """See ChangeFeed."""
        if not session_ids:
            return {}
        rows = await self._read(_READ_VERSIONS, {"session_ids": list(dict.fromkeys(session_ids))})
        return {SessionId(row.session_id): row.version for row in rows}

    def listening(self, on_write: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """See ChangeFeed. By LISTEN, on a connection besides the pool's."""
        return self._listener.listening(on_write)

    async def _read(self, statement: sa.Executable, values: dict[str, Any]) -> list[sa.Row[Any]]:
        async def rows() -> list[sa.Row[Any]]:
            async with self._autocommit.connect() as connection:
                return list((await connection.execute(statement, values)).all())

        return await once_more_if_connection_was_lost(rows)

    async def _write(self, statement: sa.Executable, values: dict[str, Any]) -> tuple[bool, int]:
        """Whether a row was written, and the session's version then (0: there never was one)."""

        tries = 0

        async def write() -> tuple[bool, int]:
            nonlocal tries
            tries += 1
            async with self._autocommit.connect() as connection:
                changed, version = (await connection.execute(statement, values)).one()
            # Nothing to do the second time: the first had most probably committed before its connection broke, so it was our doing.
            return changed or (tries > 1 and version is not None), version or 0

        # Both writes are idempotent, so the second time does no harm where the first had committed after all.
        return await once_more_if_connection_was_lost(write)


def _answer(row: sa.Row[Any]) -> AnalyticsAnswer:
    return AnalyticsAnswer(document.decode(row.document, of=row.session_id), row.version, source="postgres", age_s=0.0)
