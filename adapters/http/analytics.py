"""A session's analytics: the route that is asked most, and the way past what it does not need.

What is answered is decided in AnalyticsAnswers, once. The ordinary route below it is FastAPI's, and documents it. AnalyticsFastPath is a
middleware that recognises the same requests by their path and answers them itself: no routing, no dependency solving, no Request and no
Response object, no layers of middlewares, which is most of what a request costs here (docs/adr/0009).
Taking it out changes no answer, and a test holds the two ways together.
"""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Header, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.http.access import BEARER, Authentication, SessionIdText
from adapters.http.codings import CODINGS, qualities
from adapters.http.fields import Fields, fields_of
from adapters.http.needs import HttpNeeds, Needed
from adapters.http.observation import CLIENT_GONE, Observation
from adapters.http.problems import INVALID_HEADER, NOT_ANALYSED, SESSION_NOT_FOUND, Problem, problem_of, unforeseen
from adapters.http.representations import Representation, Representations, representations_in
from adapters.http.request_ids import REQUEST_ID, RequestIds
from adapters.http.schemas import LOCATION, Absent, problems
from adapters.http.security_headers import DATA_HEADERS
from domain.access import Viewer
from domain.analytics import SessionAnalytics
from domain.errors import EmgSessionsError
from domain.ports import AnalyticsAnswer, Coding, DocumentAnswer, Freshness, VersionAnswer
from domain.session import SessionId, SessionState, parse_session_id

router = APIRouter(prefix="/api/v1/sessions", tags=["analytics"])

_PREFIX: Final = "/api/v1/sessions/"
_SUFFIX: Final = "/analytics"
_PATTERN: Final = f"{_PREFIX}{{session_id}}{_SUFFIX}"
_PATH_LENGTH: Final = len(_PREFIX) + 36 + len(_SUFFIX)
_VERSION_DIGITS_MAX: Final = 18
_TRUTHS: Final = frozenset({"postgres", "memory"})
_CODED: Final = {coding: ((b"content-encoding", coding.encode()),) if coding != "identity" else () for coding in CODINGS}
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
        self._representations = representations

    async def answer(self, session_text: str, fields: Fields) -> Reply:
        """The answer to GET; HEAD's is the same without the body. Raises Problems, and what the repository raises."""
        asked = _asked(fields)
        viewer = await self._authentication.viewer(asked.authorization)
        session_id = _session_id(session_text)
        if not await self._access.may_see(viewer, session_id):
            raise Problem(SESSION_NOT_FOUND)
        if asked.if_none_match is not None:
            unchanged = await self._unchanged(asked.if_none_match, viewer, session_id, asked)
            if unchanged is not None:
                return unchanged
        present = await self._present(session_text, viewer, session_id, asked)
        return present if present is not None else await self._absent(session_text, viewer, session_id, asked)

    async def _present(self, session_text: str, viewer: Viewer, session_id: SessionId, asked: Asked) -> Reply | None:
        """The document, in the form that the viewer may have and the client wants; None if there is none."""
        if viewer.sees_subjects:
            answer = await self._repository.get_document(session_id, freshness=asked.freshness, at_least=asked.at_least)
            if answer is None:
                return None
            coding, body = await self._representations.of_document(session_id, answer, asked.accept_encoding)
            return Reply(200, [*_of_form(session_text, answer.version, coding, False, len(body)), *_of_reading(answer)], body)
        decoded = await self._repository.get(session_id, freshness=asked.freshness, at_least=asked.at_least)
        if decoded is None:
            return None
        coding, body = await self._representations.anonymous(decoded.analytics, decoded.version, asked.accept_encoding)
        return Reply(200, [*_of_form(session_text, decoded.version, coding, True, len(body)), *_of_reading(decoded)], body)

    async def _unchanged(self, if_none_match: bytes, viewer: Viewer, session_id: SessionId, asked: Asked) -> Reply | None:
        """304 if the client has the present version in a form that it may have; for which the document itself is not read."""
        wanted = qualities(asked.accept_encoding)
        anything = if_none_match.strip() == b"*"
        held = [
            (version, coding)
            for session, version, coding, anonymous in representations_in(if_none_match)
            if session == session_id.hex and anonymous is not viewer.sees_subjects and wanted[coding] > 0
        ]
        if not held and not anything:
            return None
        now = await self._repository.get_version(session_id, freshness=asked.freshness, at_least=asked.at_least)
        if now is None:
            return None
        codings = [coding for version, coding in held if version == now.version]
        if anything:
            codings.append(max(wanted, key=lambda coding: wanted[coding]))
        if not codings or wanted[codings[0]] == 0:
            return None
        return Reply(304, [*_of_version(session_id, now.version, codings[0], not viewer.sees_subjects), *_of_reading(now)], b"")

    async def _absent(self, session_text: str, viewer: Viewer, session_id: SessionId, asked: Asked) -> Reply:
        """What there is instead. Raises a Problem with status 404 if that is nothing."""
        session = await self._access.find(viewer, session_id)
        if session is None:
            raise Problem(SESSION_NOT_FOUND)
        if session.state is SessionState.DUPLICATE and session.same_as is not None:
            location = f"{_PREFIX}{session.same_as}{_SUFFIX}".encode()
            return Reply(308, [(b"location", location), (b"cache-control", b"no-store"), (b"content-length", b"0")], b"")
        if session.state is SessionState.COMPLETED:
            # A cache may not know yet what the registry does: services/analytics_of_sessions.py.
            present = await self._present(session_text, viewer, session_id, asked._replace(freshness=Freshness.FRESH))
            if present is not None:
                return present
        raise Problem(NOT_ANALYSED, f"its state is {session.state.value!r}")


class AnalyticsFastPath:
    """The way past everything else: the outermost middleware.

    It does for its requests what the middlewares behind it do for all others, out of the same parts: an id, the security headers, a note
    for the meter, problems for errors. It reads no body, so the limits on bodies are nothing to it. `refuses` says which requests may go
    no further; those go the ordinary way, too.
    """

    def __init__(
        self, app: ASGIApp, *, request_ids: RequestIds, observation: Observation, refuses: Callable[[Scope, Fields], object] | None
    ) -> None:
        self._app = app
        self._request_ids = request_ids
        self._observation = observation
        self._refuses = refuses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI. Only what is certainly a request for analytics is taken; the rest goes on."""
        if (
            scope["type"] != "http"
            or len(path := scope["path"]) != _PATH_LENGTH
            or not (path.startswith(_PREFIX) and path.endswith(_SUFFIX))
            or scope["method"] not in ("GET", "HEAD")
        ):
            await self._app(scope, receive, send)
            return
        fields = fields_of(scope["headers"])
        if self._refuses is not None and self._refuses(scope, fields):
            await self._app(scope, receive, send)
            return
        await self._answer(scope, fields, path[len(_PREFIX) : -len(_SUFFIX)], send)

    async def _answer(self, scope: Scope, fields: Fields, session_text: str, send: Send) -> None:
        begin = self._observation.clock()
        scope["route_pattern"] = _PATTERN
        request_id = self._request_ids.take(scope, fields)
        bound = REQUEST_ID.set(scope["request_id"])
        status = CLIENT_GONE
        try:
            answers: AnalyticsAnswers = scope["app"].state.analytics_answers
            try:
                reply = await answers.answer(session_text, fields)
            except Problem as problem:
                reply = _reply_of(problem)
            except EmgSessionsError as error:
                reply = _reply_of(problem_of(error))
            except Exception as error:  # noqa: BLE001 - nothing may get past here
                reply = _reply_of(unforeseen(error))
            status = reply.status
            headers = [*reply.headers, *(() if status == HTTPStatus.NOT_MODIFIED else DATA_HEADERS), request_id]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})
        finally:
            self._observation.note(scope, status, self._observation.clock() - begin)
            REQUEST_ID.reset(bound)


def _reply_of(problem: Problem) -> Reply:
    response = problem.response()
    return Reply(response.status_code, response.raw_headers, bytes(response.body))


def _asked(fields: Fields) -> Asked:
    """What is asked. Raises a Problem with status 400."""
    authorization, at_least = fields.get(b"authorization"), fields.get(b"emg-at-least-version")
    # What a browser sends when somebody insists on reloading.
    reloads = b"no-cache" in fields[b"cache-control"].lower() if b"cache-control" in fields else False
    return Asked(
        None if authorization is None else authorization.decode("latin-1"),
        fields.get(b"accept-encoding"),
        fields.get(b"if-none-match"),
        Freshness.FRESH if reloads else Freshness.BOUNDED,
        None if at_least is None else _version(at_least),
    )


def _version(value: bytes) -> int:
    if not value.isdigit() or len(value) > _VERSION_DIGITS_MAX:
        raise Problem(INVALID_HEADER, f"Emg-At-Least-Version must be a whole number of at most {_VERSION_DIGITS_MAX} digits")
    return int(value)


@lru_cache(maxsize=10_000)
def _session_id(text: str) -> SessionId:
    return parse_session_id(text)


def _of_reading(answer: DocumentAnswer | AnalyticsAnswer | VersionAnswer) -> Headers:
    """The headers that say how an answer was come by, of 200 and 304."""
    headers = [(b"age", b"%d" % answer.age_s), (b"cache-status", _cache_status(answer.source, answer.stale))]
    if answer.stale:
        headers.append((b"emg-stale", b"?1"))
    return headers


@lru_cache(maxsize=10_000)
def _of_form(session_text: str, version: int, coding: Coding, anonymous: bool, length: int) -> Headers:
    """The headers of 200 that are the same for one form of one version."""
    headers = _of_version(_session_id(session_text), version, coding, anonymous)
    return [*headers, _JSON, (b"content-length", b"%d" % length), *_CODED[coding]]


def _of_version(session_id: SessionId, version: int, coding: Coding, anonymous: bool) -> Headers:
    """The headers that are the same for one form of one version, of 200 and 304."""
    return [
        (b"cache-control", b"private, no-cache"),
        (b"vary", b"Accept-Encoding, Authorization"),
        (b"etag", Representation(session_id, version, coding, anonymous).etag()),
        (b"emg-analytics-version", b"%d" % version),
    ]


@lru_cache(maxsize=16)
def _cache_status(source: str, stale: bool) -> bytes:
    """How the answer was come by, as RFC 9211 says it. A stale one was kept, and served because asking the database failed."""
    how = "fwd=stale" if stale else "fwd=miss" if source in _TRUTHS else "hit"
    return f"emg-sessions; {how}; detail={source}".encode()


_EXAMPLE_ETAG: Final = '"6f1c1c3e52ff5d5a9d0b7f6a2b8d9a10.3.zstd"'
_HEADERS: Final = {
    "ETag": {"description": "Session, version and coding. Strong.", "schema": {"type": "string"}, "example": _EXAMPLE_ETAG},
    "Emg-Analytics-Version": {"description": "Counts the writes of this session.", "schema": {"type": "integer"}, "example": 3},
    "Age": {"description": "Seconds since the answer left the database.", "schema": {"type": "integer"}, "example": 0},
    "Cache-Status": {
        "description": "RFC 9211. `hit` or `fwd=miss`, and which store answered; `fwd=stale`: see Emg-Stale.",
        "schema": {"type": "string"},
        "example": "emg-sessions; hit; detail=near",
    },
    "Emg-Stale": {
        "description": "`?1` if the database failed, and this is what was kept, past its promise (CACHE_FAIL_SAFE_S).",
        "schema": {"type": "string"},
    },
}  # fmt: skip
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The document, in the coding that is stored if the client accepts it.", "headers": _HEADERS},
    304: {"description": "The client has the present version.", "headers": _HEADERS},
    308: {"description": "The session's recording is that of another session; `Location` names its analytics.", "headers": LOCATION},
    **problems(400, 401, 403, 404, 406, 503),
}  # fmt: skip


async def _answered(
    request: Request,
    session_id: SessionIdText,
    _token: Annotated[object, BEARER],
    # These are read from the request as it came; here they are documented.
    _if_none_match: Annotated[str | Absent, Header(alias="If-None-Match", description="Tags of what the client has.")] = None,
    _at_least: Annotated[
        str | Absent,
        Header(
            alias="Emg-At-Least-Version",
            description="A version that the client has seen: the answer is not older.",
            json_schema_extra={"pattern": f"^[0-9]{{1,{_VERSION_DIGITS_MAX}}}$"},
            examples=["3"],
        ),
    ] = None,
) -> Response:
    """The document as the analysis made it; for researchers `recording.subject` is empty.

    The stored bytes are passed on as they are if the client accepts their coding. Ask with `If-None-Match`: the answer is then mostly 304.
    `Cache-Control: no-cache` asks for an answer that is no older than the last write that was acknowledged.
    """
    answers: AnalyticsAnswers = request.app.state.analytics_answers
    reply = await answers.answer(session_id, fields_of(request.headers.raw))
    response = Response(b"" if request.method == "HEAD" else reply.body, reply.status)
    response.raw_headers = reply.headers
    return response


router.get("/{session_id}/analytics", summary="Read the analytics", response_model=SessionAnalytics, responses=_ANSWERS)(_answered)
router.head("/{session_id}/analytics", summary="Look at the analytics", response_model=None, responses=_ANSWERS)(_answered)
