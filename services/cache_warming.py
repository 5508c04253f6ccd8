"""Reads what will probably be read soon, so that it is at hand then. Where nothing caches, it only costs the reading."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.ports import SessionAnalyticsRepository, SessionRegistry

_SESSIONS_MAX: Final = 10_000
_BATCH: Final = 100


async def warm_recent_sessions(
    repository: SessionAnalyticsRepository,
    registry: SessionRegistry,
    hours: float,
    progress: Callable[[int, int], None] = lambda *_: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Reads the analytics of the sessions registered in the last hours, 10,000 at most; how many sessions there were."""
    since = clock() - timedelta(hours=hours)
    session_ids = [session.session_id for session in await registry.recent(_SESSIONS_MAX) if session.registered_at >= since]
    for start in range(0, len(session_ids), _BATCH):
        await repository.get_many(session_ids[start : start + _BATCH])
        progress(min(start + _BATCH, len(session_ids)), len(session_ids))
    return len(session_ids)
