"""A session's analytics: the route that is asked most, and the way past what it does not need.

What is answered is decided in AnalyticsAnswers, once. The ordinary route below it is FastAPI's, and documents it. AnalyticsFastPath is a
middleware that recognises the same requests by their path and answers them itself: no routing, no dependency solving, no Request and no
Response object, which is most of what a request costs here (docs/adr/0009, benchmarks/http_hot_route.py). All other middlewares stand
before it. Taking it out changes no answer.
"""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.http.access import BEARER, Authentication, SessionIdText
from adapters.http.codings import qualities
from adapters.http.needs import HttpNeeds, Needed
from adapters.http.problems import INVALID_HEADER, NOT_ANALYSED, SESSION_NOT_FOUND, Problem, problem_of
from adapters.http.representations import Representation, Representations, not_acceptable, representations_in
from adapters.http.schemas import problems
from domain.access import Viewer
from domain.analytics import SessionAnalytics
from domain.errors import EmgSessionsError
from domain.ports import Freshness
from domain.session import SessionId, SessionState, parse_session_id

router = APIRouter(prefix="/api/v1/sessions", tags=["analytics"])

_PREFIX: Final = "/api/v1/sessions/"
_SUFFIX: Final = "/analytics"
_PATH_LENGTH: Final = len(_PREFIX) + 36 + len(_SUFFIX)
_VERSION_DIGITS_MAX: Final = 18
_TRUTHS: Final = frozenset({"postgres", "memory"})
_ALWAYS: Final = [
    (b"cache-control", b"private, no-cache"),
    (b"vary", b"Accept-Encoding, Authorization"),
]
_JSON: Final = (b"content-type", b"application/json")

Headers = list[tuple[bytes, bytes]]


class Reply(NamedTuple):
    """An answer, ready to be sent."""

    status: int
    headers: Headers
    body: bytes


class Asked(NamedTuple):
    """What the headers of a request say that matters here."""

    authorization: str | None
    accept_encoding: bytes | None
    if_none_match: bytes | None
    freshness: Freshness
    at_least: int | None


class AnalyticsAnswers:
    """Answers for the analytics document: who may have it, in which form, and whether the client has it already."""

    def __init__(self, authentication: Authentication, needs: Needed, representations: Representations) -> None:
        self._authentication = authentication
        self._access = needs[HttpNeeds.session_access]
        self._repository = needs[HttpNeeds.session_analytics]
        self._registry = needs[HttpNeeds.session_registry]
        self._representations = representations

    async def answer(self, session_text: str, headers: Iterable[tuple[bytes, bytes]]) -> Reply:
        """The answer to GET; HEAD's is the same without the body. Raises Problems, and what the repository raises."""
        asked = _asked(headers)
        viewer = await self._authentication.viewer(asked.authorization)
        session_id = _session_id(session_text)
        if not await self._access.may_see(viewer, session_id):
            raise Problem(SESSION_NOT_FOUND)
        if asked.if_none_match is not None and (unchanged := await self._unchanged(viewer, session_id, asked)) is not None:
            return unchanged
        if viewer.sees_subjects:
            answer = await self._repository.get_document(session_id, freshness=asked.freshness, at_least=asked.at_least)
            if answer is None:
                raise await self._absent(viewer, session_id)
            form, body = await self._representations.of_document(session_id, answer, asked.accept_encoding)
            described = _described(form, answer.source, answer.age_s, stale=answer.stale)
        else:
            decoded = await self._repository.get(session_id, freshness=asked.freshness, at_least=asked.at_least)
            if decoded is None:
                raise await self._absent(viewer, session_id)
            form, body = await self._representations.anonymous(decoded.analytics, decoded.version, asked.accept_encoding)
            described = _described(form, decoded.source, decoded.age_s, stale=decoded.stale)
        described.append(_JSON)
        described.append((b"content-length", b"%d" % len(body)))
        if form.coding != "identity":
            described.append((b"content-encoding", form.coding.encode()))
        return Reply(200, described, body)

    async def _unchanged(self, viewer: Viewer, session_id: SessionId, asked: Asked) -> Reply | None:
        """304 if the client has the present version in a form that it may have; for which the document itself is not read."""
        assert asked.if_none_match is not None
        wanted = qualities(asked.accept_encoding)
        anything = asked.if_none_match.strip() == b"*"
        held = [
            (version, coding)
            for session, version, coding, anonymous in representations_in(asked.if_none_match)
            if session == session_id.hex and anonymous is not viewer.sees_subjects and wanted[coding] > 0
        ]
        if not held and not anything:
            return None
        now = await self._repository.get_version(session_id, freshness=asked.freshness, at_least=asked.at_least)
        if now is None:
            return None
        coding = next((coding for version, coding in held if version == now.version), None)
        if coding is None and anything:
            coding = max(wanted, key=lambda coding: wanted[coding])
            if wanted[coding] == 0:
                raise not_acceptable()
        if coding is None:
            return None
        form = Representation(session_id, now.version, coding, anonymous=not viewer.sees_subjects)
        return Reply(304, _described(form, now.source, now.age_s, stale=now.stale), b"")

    async def _absent(self, viewer: Viewer, session_id: SessionId) -> Problem:
        session = await self._access.find(viewer, session_id)
        if session is None:
            return Problem(SESSION_NOT_FOUND)
        if session.state is SessionState.DUPLICATE and session.same_as is not None:
            return Moved(f"{_PREFIX}{session.same_as}{_SUFFIX}")
        return Problem(NOT_ANALYSED, f"its state is {session.state.value!r}")


class AnalyticsFastPath:
    """The way past FastAPI; the innermost middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI. Only what is certainly a request for analytics is taken; the rest goes on."""
        if (
            scope["type"] != "http"
            or len(path := scope["path"]) != _PATH_LENGTH
            or not (path.startswith(_PREFIX) and path.endswith(_SUFFIX))
            or scope["method"] not in ("GET", "HEAD")
        ):
            await self.app(scope, receive, send)
            return
        answers: AnalyticsAnswers = scope["app"].state.analytics_answers
        try:
            reply = await answers.answer(path[len(_PREFIX) : -len(_SUFFIX)], scope["headers"])
        except Problem as problem:
            await problem.response()(scope, receive, send)
        except EmgSessionsError as error:
            await problem_of(error).response()(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})
