"""The OpenAPI document: what FastAPI makes of the routes, and what holds for all of them alike, which no route has to repeat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from adapters.http.schemas import ProblemDocument, header, problems

_OF_BODIES: Final = (408, 413)
_OF_ALL: Final = (500,)
_REQUEST_ID: Final = header("The request's own if it was a sane one, else made here. It stands in the log.", always=True)
_HEADERS: Final = {
    "401": {"WWW-Authenticate": header("What is wrong with the token (RFC 6750).", always=True)},
    "429": {"Retry-After": header("In so many seconds.", always=True, kind="integer")},
    "503": {"Retry-After": header("In so many seconds.", always=True, kind="integer")},
}


def document_of(app: FastAPI) -> dict[str, Any]:
    """The document of all routes of an application."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of it, which is not what is answered.
        schemas.pop(name, None)
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemDocument"] = problem
    for operation in _operations(document):
        _describe(operation)
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def _describe(operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    if "422" in answers:
        answers["422"] = problems(422)[422]
    for status in (*(_OF_BODIES if "requestBody" in operation else ()), *_OF_ALL):
        answers.setdefault(str(status), problems(status)[status])
    for status, answer in answers.items():
        of_status = {} if status == "401" and "security" not in operation else _HEADERS.get(status, {})
        answer["headers"] = {**answer.get("headers", {}), **of_status, "X-Request-Id": _REQUEST_ID}
    operation["responses"] = dict(sorted(answers.items()))
