"""Sessions: the list, and each with what became of its recording."""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from adapters.http.access import Access, Viewing, VisibleSession, forbidden
from adapters.http.cursors import cursor_of, key_of
from adapters.http.needs import HttpNeeds, needed
from adapters.http.representations import Representations
from adapters.http.schemas import (
    CODE_PATTERN,
    LOCATION,
    Absent,
    GivenLocalTime,
    RecordingInDetail,
    Session,
    SessionInDetail,
    SessionPage,
    State,
    problems,
)
from adapters.http.signals import SignalForms
from domain.access import session_as_seen
from domain.ports import PageKey, SessionAnalyticsRepository, SessionQuery, SessionRegistry
from domain.session import SessionState
from services.analytics_of_sessions import analytics_of, analytics_of_many
from services.session_erasure import SessionErasure

router = APIRouter(prefix="/api/v1/sessions", tags=["sessions"])

Registry = Annotated[SessionRegistry, needed(HttpNeeds.session_registry)]
Repository = Annotated[SessionAnalyticsRepository, needed(HttpNeeds.session_analytics)]

Erasure = Annotated[SessionErasure, needed(HttpNeeds.session_erasure)]

PAGE_MAX: Final = 200

PatientCode = Annotated[
    str | Absent,
    Query(min_length=1, max_length=100, pattern=CODE_PATTERN, description="Only this patient's.", examples=["P042"]),
]
RecordedFrom = Annotated[GivenLocalTime | Absent, Query(description="Recorded at this time or later.", examples=["2026-03-01T00:00:00"])]
RecordedBefore = Annotated[GivenLocalTime | Absent, Query(description="Recorded before this local time.", examples=["2026-04-01T00:00:00"])]


@router.get("", summary="List sessions", responses=problems(400, 401, 403, 422, 503))
async def list_sessions(
    *,
    viewer: Viewing,
    access: Access,
    registry: Registry,
    repository: Repository,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="Sessions a page at most.")] = 50,
    cursor: Annotated[str | Absent, Query(max_length=100, description="The `next_cursor` of the page before.")] = None,
    patient_code: PatientCode = None,
    state: Annotated[State | Absent, Query(description="Only in this state.")] = None,
    recorded_from: RecordedFrom = None,
    recorded_before: RecordedBefore = None,
) -> SessionPage:
    """The sessions that the bearer may see, newest registered first, with their analytics in brief. Duplicates are left out.

    Pages are stable: a session that arrives meanwhile is on the first page, and moves no other.
    """
    query = SessionQuery(
        patients=await access.patients_of(viewer),
        patient_code=patient_code,
        state=None if state is None else SessionState(state),
        recorded_from=recorded_from,
        recorded_before=recorded_before,
    )
    found = await registry.page(query, limit=limit + 1, after=None if cursor is None else key_of(cursor))
    shown = found[:limit]
    answers = await analytics_of_many(repository, shown)
    last = PageKey(shown[-1].registered_at, shown[-1].session_id) if len(found) > limit else None
    return SessionPage(
        sessions=[Session.of(session_as_seen(session, viewer), answers.get(session.session_id)) for session in shown],
        next_cursor=None if last is None else cursor_of(last),
    )


@router.get(
    "/{session_id}",
    summary="Show a session",
    response_model=SessionInDetail,
    responses={
        308: {"description": "The recording is that of the session in `Location`.", "headers": LOCATION},
        **problems(400, 401, 403, 404, 422, 503),
    },
)
async def show_session(session: VisibleSession, viewer: Viewing, repository: Repository) -> SessionInDetail | Response:
    """What became of a session's recording, what the recording says, and its analytics in brief."""
    if session.state is SessionState.DUPLICATE and session.same_as is not None:
        return RedirectResponse(f"/api/v1/sessions/{session.same_as}", 308, headers={"Cache-Control": "no-store"})
    answer = await analytics_of(repository, session)
    return SessionInDetail(
        **Session.of(session, answer).model_dump(),
        recording=None if answer is None else RecordingInDetail.of(answer.analytics, viewer),
    )


@router.delete("/{session_id}", status_code=204, summary="Erase a session", responses=problems(400, 401, 403, 404, 503))
async def erase_session(session: VisibleSession, viewer: Viewing, erasure: Erasure, request: Request) -> None:
    """Erases a session everywhere: the recording, what is known of it, its analytics, and what is cached of them. For its therapist and
    for admins. If it is interrupted, ask again.
    """
    if not viewer.may_erase:
        raise forbidden("researchers do not erase sessions")
    await erasure.erase(session.session_id)
    representations: Representations = request.app.state.representations
    representations.forget(session.session_id)
    signal_forms: SignalForms = request.app.state.signal_forms
    signal_forms.forget(session.session_id)
