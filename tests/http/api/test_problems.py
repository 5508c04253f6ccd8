"""Every error is a problem document, and none says more than it may."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
import psycopg
import pytest
from obstore import exceptions

from adapters.http import problems
from adapters.http.problems import OF_ERRORS, problem_of
from adapters.postgres import errors as postgres_errors
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.queue import connections as queue_connections
from adapters.recordings import errors as recordings_errors
from domain import errors
from domain.errors import AnalysisFailed, EmgSessionsError, InvalidRecording, InvalidSessionId, RecordingTooLarge
from tests.http.api.service import Service


def all_errors() -> list[type[EmgSessionsError]]:
    """Those of the domain that are raised, which are all but the kinds of them."""
    found = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, EmgSessionsError)]
    return [error for error in found if error not in (EmgSessionsError, errors.StorageError, errors.RecordingError)]


def an(error: type[EmgSessionsError]) -> EmgSessionsError:
    if error is RecordingTooLarge:
        return RecordingTooLarge(5)
    return error("a.c3d", "why") if error in (InvalidRecording, AnalysisFailed) else error("what")


@pytest.mark.parametrize("error", all_errors())
def test_every_error_of_the_domain_has_its_problem(error: type[EmgSessionsError]) -> None:
    assert any(ancestor in OF_ERRORS for ancestor in error.__mro__), f"add {error.__name__} to the table in adapters/http/problems.py"
    problem = problem_of(an(error))
    assert 400 <= problem.kind.status < 600


def test_an_id_that_was_wrong_is_not_repeated() -> None:
    assert b"Jane Doe" not in problem_of(InvalidSessionId("Jane Doe")).body()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PATCH", "/api/v1/sessions", 405), ("GET", "/api/v1/sessions/", 404), ("GET", "/api/v1/../secret", 404)],
)
async def test_what_no_route_answers_is_a_problem_too(service: Service, method: str, path: str, status: int) -> None:
    async with service.asked_by() as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json() == {"type": "about:blank", "title": answer.json()["title"], "status": status}


@pytest.mark.parametrize(("path", "methods"), [("", "DELETE, GET, HEAD"), ("/events", "GET"), ("/analytics", "GET, HEAD")])
async def test_methods_of_all_routes_of_a_path_are_allowed(service: Service, path: str, methods: str) -> None:
    async with service.asked_by() as client:
        answer = await client.put(f"/api/v1/sessions/6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10{path}")
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/sessions/{id}/analytics"])
async def test_what_nobody_foresaw_is_500_and_keeps_its_secrets(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("patient Jane Doe, password hunter2")

    session = await service.session()
    for name in ("get_many", "get_document"):
        monkeypatch.setattr(service.repository, name, broken)
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(problems.log, "error", lambda event, **facts: said.append({"event": event, **facts}), raising=False)
    async with service.asked_by() as client:
        answer = await client.get(path.format(id=session.session_id))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["type"] == "urn:problem-type:emg-sessions:unforeseen"
    (line,) = said
    assert (line["event"], line["error"]) == ("unforeseen_error", "RuntimeError")
    assert line["at"].startswith("tests.http.api.test_problems:") or "test_problems" in line["at"]
    for text in (answer.text, str(line), *capsys.readouterr()):
        assert "Jane" not in text
        assert "hunter2" not in text
        assert "Traceback" not in text


ROOT: Final = Path(__file__).parents[3]
# What messages of storage errors may hold besides their own words: codes, bounds and ids of sessions. They go into the log.
HARMLESS: Final = {"session_id", "session.session_id", "self._jobs_max", "self.policy.arrival_s", "state", "message"}


def interpolated_in_storage_errors() -> set[str]:
    """What storage errors are given besides constant text. Embedded servers and commands fail before or without a request."""
    found: set[str] = set()
    for path in (ROOT / "adapters").rglob("*.py"):
        if {"embedded", "entrypoints"} & set(path.parts):
            continue
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("StorageUnavailable", "StorageRefused", "StorageNotReady"):
                found |= {
                    ast.unparse(part.value) for argument in call.args for part in ast.walk(argument) if isinstance(part, ast.FormattedValue)
                }
                found |= {
                    ast.unparse(argument) for argument in call.args if not isinstance(argument, (ast.Constant, ast.JoinedStr, ast.Name))
                }
    return found


def test_messages_of_storage_errors_may_go_into_the_log() -> None:
    found = interpolated_in_storage_errors()
    assert "session_id" in found, "nothing was found, which cannot be"
    assert found <= HARMLESS


@pytest.mark.parametrize(
    "translate",
    [postgres_errors.translate, recordings_errors.translate, queue_connections.translate],
)
@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left", "/data/Jane Doe.c3d"), OSError("hunter2"), PermissionError(13, "hunter2", "/data/Jane Doe.c3d"),
        asyncpg.UniqueViolationError("Key (patient_code)=(Jane Doe) exists, hunter2"), exceptions.GenericError("hunter2 Jane Doe"),
        psycopg.OperationalError("hunter2 Jane Doe"), ConnectionError("Jane Doe hunter2 rejected SSL upgrade"),
    ],
)  # fmt: skip
def test_what_a_driver_says_is_in_no_storage_error(translate: Callable[[Exception], EmgSessionsError], error: Exception) -> None:
    message = str(translate(error))
    assert "hunter2" not in message
    assert "Jane" not in message


async def test_why_the_storage_failed_is_in_the_log_and_not_in_the_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise errors.StorageUnavailable("the disk is full")

    monkeypatch.setattr(PostgresSessionRegistry, "page", fails)
    async with service.asked_by() as client:
        answer = await client.get("/api/v1/sessions")
    assert answer.status_code == 503
    assert "disk" not in answer.text
    seen = capsys.readouterr()
    assert "the disk is full" in seen.err + seen.out


async def test_what_is_stored_is_not_in_the_log(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise errors.StoredDataInvalid("what is stored reads Jane Doe")

    monkeypatch.setattr(PostgresSessionRegistry, "page", fails)
    async with service.asked_by() as client:
        assert (await client.get("/api/v1/sessions")).status_code == 500
    seen = capsys.readouterr()
    assert "stored-data-invalid" in seen.err + seen.out
    assert "Jane" not in seen.err + seen.out
