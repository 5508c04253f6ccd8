"""Every error is a problem document, and none says more than it may."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.http import problems
from adapters.http.problems import OF_ERRORS, problem_of
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


async def test_methods_of_all_routes_of_a_path_are_allowed(service: Service) -> None:
    async with service.asked_by() as client:
        answer = await client.put("/api/v1/sessions/6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET")


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
