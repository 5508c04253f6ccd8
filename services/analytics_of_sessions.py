"""The analytics of sessions as the registry knows them.

A cache may still believe that there is nothing when the registry says "completed", which is noted after the analytics are saved. Both
together would be a contradiction, so what is missing there is asked for once more, FRESH. Where the registry was not asked, all that is
missing is: a client may have heard of it from another process.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from domain.ports import AnalyticsAnswer, Freshness, SessionAnalyticsRepository
from domain.session import SessionId, SessionState, TherapySession


async def analytics_of(repository: SessionAnalyticsRepository, session: TherapySession) -> AnalyticsAnswer | None:
    """The analytics of a session that was just looked up; None if it has none (yet)."""
    answer = await repository.get(session.session_id)
    if answer is None and session.state is SessionState.COMPLETED:
        answer = await repository.get(session.session_id, freshness=Freshness.FRESH)
    return answer


async def analytics_of_many(repository: SessionAnalyticsRepository, sessions: Sequence[TherapySession]) -> dict[SessionId, AnalyticsAnswer]:
    """The analytics of sessions that were just looked up, of those that have any (yet)."""
    answers = await repository.get_many([session.session_id for session in sessions])
    completed = [session.session_id for session in sessions if session.state is SessionState.COMPLETED]
    if missing := [session_id for session_id in completed if session_id not in answers]:
        answers |= await repository.get_many(missing, freshness=Freshness.FRESH)
    return answers


async def analytics_among(repository: SessionAnalyticsRepository, session_ids: Collection[SessionId]) -> dict[SessionId, AnalyticsAnswer]:
    """The analytics of those that have any. If all do, they are asked for once; else the missing ones twice, all at once."""
    answers = await repository.get_many(session_ids)
    if missing := [session_id for session_id in session_ids if session_id not in answers]:
        answers |= await repository.get_many(missing, freshness=Freshness.FRESH)
    return answers
