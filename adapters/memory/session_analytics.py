"""The session analytics, their versions and their change feed, in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID, uuid4

from adapters import document
from domain.analytics import SessionAnalytics
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

_CHANGES_KEPT: Final = 10_000


class MemorySessionAnalyticsRepository(SessionAnalyticsRepository, ChangeFeed):
    """Keeps the analytics, their versions and the latest changes in dicts. No method awaits, so every call is atomic."""

    def __init__(self) -> None:
        self._store_id = uuid4()
        self._analytics: dict[SessionId, SessionAnalytics] = {}
        self._versions: dict[SessionId, int] = {}
        self._changes: list[AnalyticsChange] = []
        self._changes_dropped = 0
        self._listeners: list[Callable[[], None]] = []

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """See the port. This is the truth, so every answer is fresh."""
        analytics = self._analytics.get(session_id)
        if analytics is None:
            return None
        return AnalyticsAnswer(analytics, self._versions[session_id], source="memory", age_s=0.0)

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        """See the port."""
        answers = {session_id: await self.get(session_id) for session_id in session_ids}
        return {session_id: answer for session_id, answer in answers.items() if answer is not None}

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        """See the port."""
        answer = await self.get(session_id)
        return None if answer is None else document.of_answer(answer)

    async def get_version(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> VersionAnswer | None:
        """See the port."""
        if session_id not in self._analytics:
            return None
        return VersionAnswer(self._versions[session_id], source="memory", age_s=0.0)

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        """See the port."""
        document.encode_to_store(analytics)  # What no document can hold is refused here as elsewhere.
        session_id = analytics.session_id
        known = self._analytics.get(session_id)
        if known is not None and known.content() == analytics.content():
            return SaveReceipt(self._versions[session_id], changed=False, fresh=True)
        self._analytics[session_id] = analytics
        return SaveReceipt(self._changed(session_id), changed=True, fresh=True)

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        """See the port."""
        if self._analytics.pop(session_id, None) is None:
            return None
        return DeleteReceipt(self._changed(session_id), fresh=True)

    async def store_id(self) -> UUID:
        """See ChangeFeed."""
        return self._store_id

    async def changes_since(self, position: int | None) -> Changes:
        """See ChangeFeed. A position counts the changes before it."""
        now = self._changes_dropped + len(self._changes)
        if position is None or not self._changes_dropped <= position <= now:
            return Changes(position=now, changes=None)
        return Changes(position=now, changes=tuple(self._changes[position - self._changes_dropped :]))

    async def versions_of(self, session_ids: Collection[SessionId]) -> dict[SessionId, int]:
        """See ChangeFeed."""
        return {session_id: self._versions[session_id] for session_id in session_ids if session_id in self._versions}

    @asynccontextmanager
    async def listening(self, on_write: Callable[[], None]) -> AsyncIterator[None]:
        """See ChangeFeed. Here every write is told, at once."""
        self._listeners.append(on_write)
        try:
            yield
        finally:
            self._listeners.remove(on_write)

    def _changed(self, session_id: SessionId) -> int:
        version = self._versions.get(session_id, 0) + 1
        self._versions[session_id] = version
        self._changes.append(AnalyticsChange(session_id, version))
        if len(self._changes) > _CHANGES_KEPT:
            del self._changes[: _CHANGES_KEPT // 2]
            self._changes_dropped += _CHANGES_KEPT // 2
        for on_write in self._listeners:
            on_write()
        return version
