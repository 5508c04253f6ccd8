"""Errors as problem documents (RFC 9457): one table from what went wrong to what is answered.

A problem never carries a traceback, and never the value that was wrong: a value somebody sent may be a patient's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.http.heads import answers_head
from domain.errors import (
    AnalysisFailed,
    EmgSessionsError,
    InvalidMvc,
    InvalidParameters,
    InvalidPatientCode,
    InvalidRecording,
    InvalidRecordingKey,
    InvalidSessionId,
    InvalidSettings,
    InvalidSignalRequest,
    OtherPatient,
    Overloaded,
    RecordingNotFound,
    RecordingTooLarge,
    StorageError,
    StorageNotReady,
    StorageRefused,
    StorageUnavailable,
    StoredDataInvalid,
    UnknownChannel,
)

MEDIA_TYPE: Final = "application/problem+json"
_TYPE: Final = "urn:problem-type:emg-sessions:"
_VALIDATION_ERRORS_MAX: Final = 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its name in the `type`, its status, and one title for every occurrence."""

    name: str
    status: int
    title: str


SESSION_NOT_FOUND: Final = Kind("session-not-found", 404, "There is no such session")
PATIENT_NOT_FOUND: Final = Kind("patient-not-found", 404, "There is no such patient")
NOT_ANALYSED: Final = Kind("not-analysed", 404, "The session has no analytics yet")
INVALID_SESSION_ID: Final = Kind("invalid-session-id", 400, "This is no session id")
INVALID_REQUEST: Final = Kind("invalid-request", 422, "The request is not as it should be")
INVALID_CURSOR: Final = Kind("invalid-cursor", 400, "This is no cursor of this list")
INVALID_HEADER: Final = Kind("invalid-header", 400, "A header of the request is not as it should be")
NOT_ACCEPTABLE: Final = Kind("coding-not-acceptable", 406, "There is no coding that the client accepts")
UNAUTHENTICATED: Final = Kind("unauthenticated", 401, "A valid bearer token is needed")
FORBIDDEN: Final = Kind("forbidden", 403, "This role may not do that")
LOOPBACK_ONLY: Final = Kind("loopback-only", 403, "Without keys the service answers this machine alone")
TOO_MANY_STREAMS: Final = Kind("too-many-streams", 503, "Too many clients follow sessions already")
UNFORESEEN: Final = Kind("unforeseen", 500, "Something unforeseen happened")

OF_ERRORS: Final[dict[type[EmgSessionsError], tuple[Kind, str | None]]] = {
    InvalidSessionId: (INVALID_SESSION_ID, "a session id looks like 6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"),
    InvalidRecording: (Kind("invalid-recording", 422, "The recording cannot be analysed"), None),
    InvalidRecordingKey: (Kind("invalid-recording-name", 400, "No recording may be stored under this name"), None),
    RecordingTooLarge: (Kind("recording-too-large", 413, "The recording is too large"), None),
    RecordingNotFound: (Kind("recording-not-found", 404, "The recording is not in the recording store"), None),
    UnknownChannel: (Kind("unknown-channel", 404, "The session has no such channel"), None),
    InvalidSignalRequest: (Kind("invalid-signal-request", 422, "No signal can be shown so"), None),
    Overloaded: (Kind("overloaded", 503, "Too much is being asked at once"), None),
    InvalidMvc: (Kind("invalid-mvc", 422, "These are no maximum voluntary contractions"), None),
    InvalidPatientCode: (Kind("invalid-patient-code", 422, "This is no patient's code"), None),
    OtherPatient: (Kind("other-patient", 409, "The recording is known, and its session has another patient"), None),
    InvalidParameters: (Kind("invalid-parameters", 422, "The parameters contradict each other or the recording"), None),
    InvalidSettings: (Kind("invalid-settings", 500, "The service is not set up as it should be"), None),
    AnalysisFailed: (Kind("analysis-failed", 500, "The analysis ended without an answer"), None),
    StorageUnavailable: (Kind("storage-unavailable", 503, "The storage does not answer"), "try again in a moment"),
    StorageRefused: (Kind("storage-refused", 503, "The storage does not let the service in"), "the operator has to look at it"),
    StorageNotReady: (Kind("storage-not-ready", 503, "The storage is not ready"), "the operator has to run: emg-sessions db upgrade"),
    StoredDataInvalid: (
        Kind("stored-data-invalid", 500, "What is stored cannot be read"),
        "process the recording again",
    ),
}
"""What each error of the domain is to a client; the text is the detail, None: the error's own message. A test holds it complete."""


class Problem(Exception):
    """To be raised by handlers, and answered as it is."""

    def __init__(
        self,
        kind: Kind,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(kind.name)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors

    def body(self) -> bytes:
        """The document."""
        document: dict[str, Any] = {
            "type": _TYPE + self.kind.name if self.kind.name else "about:blank",
            "title": self.kind.title,
            "status": self.kind.status,
        }
        if self.detail is not None:
            document["detail"] = self.detail
        if self.errors:
            document["errors"] = list(self.errors)
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    def response(self) -> Response:
        """The whole answer."""
        return Response(self.body(), self.kind.status, {**self.headers, "Cache-Control": "no-store"}, MEDIA_TYPE)


def problem_of(error: EmgSessionsError) -> Problem:
    """The problem that an error of the domain is to a client."""
    kind, detail = next(OF_ERRORS[ancestor] for ancestor in type(error).__mro__ if ancestor in OF_ERRORS)
    headers = {"Retry-After": "1"} if kind.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Problem(kind, str(error) if detail is None else detail, headers=headers)


def _is_the_storages_own(error: EmgSessionsError) -> bool:
    """Whether the message tells of the storage alone, and may go into the log: not of what is stored. A test looks at all such messages."""
    return isinstance(error, StorageError) and not isinstance(error, StoredDataInvalid)


def unforeseen(error: Exception) -> Problem:
    """The problem that an error nobody foresaw is, which is noted in the log: what and where, without the values in its text."""
    log.error("unforeseen_error", error=type(error).__name__, at=_place(error))
    return Problem(UNFORESEEN, "it was noted in the service's log")


def answer_errors(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Makes every error that reaches FastAPI a problem document. What is unforeseen is for UnforeseenErrors."""

    @app.exception_handler(Problem)
    async def raised(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(EmgSessionsError)
    async def of_the_domain(_: Request, error: EmgSessionsError) -> Response:
        problem = problem_of(error)
        if problem.kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            reason = {"reason": str(error)} if _is_the_storages_own(error) else {}
            log.warning("request_failed", problem=problem.kind.name, **reason)
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def of_validation(_: Request, error: RequestValidationError) -> Response:
        return _validation_problem(error).response()

    @app.exception_handler(Exception)
    async def of_nobody(_: Request, error: Exception) -> Response:
        return unforeseen(error).response()  # Starlette raises the error again once this is sent.

    @app.exception_handler(HTTPException)
    async def of_starlette(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods_at(routes, request.scope["path"]))
        return Problem(Kind("", error.status_code, HTTPStatus(error.status_code).phrase), headers=headers).response()


class UnforeseenErrors:
    """The outermost middleware: what nobody foresaw is a problem with status 500, and a line in the log that says where, not with what.

    The server never sees it, because servers log tracebacks with the values in their messages. If the answer had begun, the connection is
    broken off, so that the client does not take half of it for all.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = ended = False

        async def noticing(message: Message) -> None:
            nonlocal began, ended
            began = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive, noticing)
        except Exception as error:  # noqa: BLE001 - nothing may get past here
            if ended:
                return
            problem = unforeseen(error)
            if began:
                raise AnswerBrokenOff from None
            await problem.response()(scope, receive, send)


class AnswerBrokenOff(Exception):
    """Tells the server to break off the connection."""


def _methods_at(routes: Sequence[BaseRoute], path: str) -> list[str]:
    """Every method that some route takes at a path. Starlette's own answer names those of the first route only."""
    there = [route for route in routes if isinstance(route, Route) and route.path_regex.match(path)]
    methods = {method for route in there for method in route.methods or ()}
    return sorted(methods | {"HEAD"} if "GET" in methods and answers_head(path) else methods)


def _validation_problem(error: RequestValidationError) -> Problem:
    errors = []
    for found in error.errors()[:_VALIDATION_ERRORS_MAX]:
        if found["type"] == "none_required":  # Said of each parameter that may be left out, besides what is wrong with it.
            continue
        where, *path = found["loc"] or ("request",)
        if where != "body":
            path = path[:1]  # The rest names branches of a type.
        errors.append({"in": str(where), "name": ".".join(str(part)[:60] for part in path), "detail": _without_value(found)})
    return Problem(INVALID_REQUEST, errors=errors)


def _without_value(found: Mapping[str, Any]) -> str:
    # Messages of validators written by us or by pydantic may quote the input only in these kinds.
    if found["type"] in ("json_invalid", "value_error", "assertion_error"):
        return {"json_invalid": "this is not valid JSON"}.get(found["type"], "this value is not allowed")
    return str(found["msg"])


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
