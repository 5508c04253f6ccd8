"""The analytics of many sessions in one answer."""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from adapters import document
from adapters.http.access import Access, Viewing
from adapters.http.schemas import AnalyticsBatch, problems
from adapters.http.sessions import Repository
from domain.access import without_people
from domain.ports import AnalyticsAnswer
from domain.session import SessionId
from services.analytics_of_sessions import analytics_among

router = APIRouter(prefix="/api/v1/analytics", tags=["analytics"])

_SESSIONS_MAX: Final = 100


class Wanted(BaseModel):
    """Which sessions."""

    model_config = ConfigDict(extra="forbid")

    session_ids: Annotated[
        list[UUID],
        Field(
            min_length=1,
            max_length=_SESSIONS_MAX,
            description="The sessions; repeated ids are answered once.",
            examples=[["6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"]],
        ),
    ]


@router.post("/batch", summary="Read many analytics", response_model=AnalyticsBatch, responses=problems(400, 401, 403, 413, 422, 503))
async def batch(wanted: Wanted, viewer: Viewing, access: Access, repository: Repository) -> Response:
    """The documents of those sessions that exist, may be seen and were analysed; the others are listed as missing, without saying why."""
    ids = [SessionId(session_id) for session_id in dict.fromkeys(wanted.session_ids)]
    visible = [session_id for session_id in ids if await access.may_see(viewer, session_id)]
    answers = await analytics_among(repository, visible)
    shown = {session_id: answers[session_id] for session_id in visible if session_id in answers}
    missing = [session_id for session_id in ids if session_id not in shown]
    # The documents are canonical already: they are put together as text, not taken apart and encoded again.
    parts = [_entry(session_id, answer, whole=viewer.sees_subjects) for session_id, answer in shown.items()]
    body = b'{"analytics":[%s],"missing":[%s]}' % (b",".join(parts), b",".join(b'"%s"' % str(each).encode() for each in missing))
    return Response(body, media_type="application/json", headers={"Cache-Control": "private, no-store"})


def _entry(session_id: SessionId, answer: AnalyticsAnswer, *, whole: bool) -> bytes:
    analytics = answer.analytics if whole else without_people(answer.analytics)
    head = f'{{"session_id":"{session_id}","version":{answer.version},"stale":{str(answer.stale).lower()},"document":'
    return head.encode() + document.encode(analytics) + b"}"
