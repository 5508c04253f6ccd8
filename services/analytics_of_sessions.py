"""The analytics of a session as the registry knows it."""

from __future__ import annotations

from domain.ports import AnalyticsAnswer, Freshness, SessionAnalyticsRepository
from domain.session import SessionState, TherapySession


async def analytics_of(repository: SessionAnalyticsRepository, session: TherapySession) -> AnalyticsAnswer | None:
    """The analytics of a session that was just looked up; None if it has none (yet).

    A cache may still believe that there is nothing when the registry says "completed", which is noted after the analytics are saved. Both
    together would be a contradiction, so that one case is asked for once more, FRESH.
    """
    answer = await repository.get(session.session_id)
    if answer is None and session.state is SessionState.COMPLETED:
        answer = await repository.get(session.session_id, freshness=Freshness.FRESH)
    return answer
