"""The middlewares, each around the smallest application."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import structlog
from starlette.types import Receive, Scope, Send

from adapters.http.bodies import BodyBounds, BodyLimits, BodyRefused
from adapters.http.observation import CLIENT_GONE, HttpMeter, Observation
from adapters.http.request_ids import RequestIds, new_ids
from adapters.http.security_headers import CONTENT_SECURITY_POLICY, HEADERS, SecurityHeaders
from domain.ports import PartHealth
from tests.unit.http.asgi import answering, ask


class Noted(HttpMeter):
    def __init__(self) -> None:
        self.requests: list[tuple[str, str, int, float]] = []

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self.requests.append((method, route, status, seconds))

    def storage_event(self, outcome: str) -> None: ...

    def seen(self, parts: Mapping[str, PartHealth]) -> None: ...

    def exposition(self) -> tuple[bytes, str]:
        return b"", ""


# Request ids.


async def test_a_request_without_an_id_gets_one_of_its_own() -> None:
    app = RequestIds(answering())
    first, second = await ask(app), await ask(app)
    ids = {first.header("x-request-id"), second.header("x-request-id")}
    assert len(ids) == 2
    assert None not in ids


async def test_two_processes_never_give_the_same_ids() -> None:
    one, other = new_ids(), new_ids()
    assert {one() for _ in range(1000)}.isdisjoint({other() for _ in range(1000)})


async def test_a_sane_id_is_taken_over() -> None:
    answered = await ask(RequestIds(answering()), headers=[(b"x-request-id", b"req-0123.ABC:x_y")])
    assert answered.header("x-request-id") == "req-0123.ABC:x_y"


@pytest.mark.parametrize(
    "given", [b"short", b"x" * 129, b"has space in it", b"line\nfeed-in-it", "ümlaut-in-it".encode(), b'quote"in"it', b""]
)
async def test_an_insane_id_is_replaced(given: bytes) -> None:
    answered = await ask(RequestIds(answering()), headers=[(b"x-request-id", given)])
    assert answered.header("x-request-id") not in {None, given.decode("latin-1")}


async def test_what_is_logged_meanwhile_bears_the_id_and_nothing_is_left_of_it() -> None:
    seen: list[Mapping[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(structlog.contextvars.get_contextvars())
        await answering()(scope, receive, send)

    answered = await ask(RequestIds(app))
    assert seen == [{"request_id": answered.header("x-request-id")}]
    assert "request_id" not in structlog.contextvars.get_contextvars()


# Security headers.


async def test_every_answer_has_the_security_headers() -> None:
    answered = await ask(SecurityHeaders(answering(404)))
    for name, value in HEADERS:
        assert answered.header(name.decode()) == value.decode()


async def test_what_a_route_set_stays() -> None:
    answered = await ask(SecurityHeaders(answering(headers=[(b"x-frame-options", b"SAMEORIGIN")])))
    assert answered.header("x-frame-options") == "SAMEORIGIN"
    assert answered.header("x-content-type-options") == "nosniff"


def test_no_script_but_our_own_runs() -> None:
    directives = dict(directive.split(" ", 1) for directive in CONTENT_SECURITY_POLICY.split("; "))
    assert directives["script-src"] == "'self'"
    assert directives["default-src"] == directives["frame-ancestors"] == directives["base-uri"] == "'none'"


# Observation.


def observed(app: Any, **choices: Any) -> tuple[Observation, Noted]:
    noted = Noted()
    return Observation(app, meter=lambda: noted, log_requests=False, **choices), noted


async def test_a_request_is_noted_by_route_status_and_seconds() -> None:
    clock = iter([10.0, 10.25])
    app, noted = observed(answering(404), clock=lambda: next(clock))
    await ask(app, "POST", "/patients/P001", route_pattern="/patients/{code}")
    assert noted.requests == [("POST", "/patients/{code}", 404, 0.25)]


async def test_paths_and_methods_that_somebody_made_up_are_not_told_apart() -> None:
    app, noted = observed(answering(404))
    await ask(app, "BREW", "/wp-login.php")
    assert noted.requests[0][:3] == ("other", "none", 404)


async def test_what_fails_is_noted_as_500_and_goes_on() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    app, noted = observed(failing)
    with pytest.raises(ZeroDivisionError):
        await ask(app)
    assert noted.requests[0][2] == 500


async def test_a_client_that_went_away_is_noted_as_such() -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    app, noted = observed(endless)
    task = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert noted.requests[0][2] == CLIENT_GONE


async def test_a_line_of_the_access_log_has_no_path_and_no_query() -> None:
    with structlog.testing.capture_logs() as lines:
        app = Observation(answering(), meter=Noted, log_requests=True)
        await ask(app, path="/api/v1/patients/P001/trends", route_pattern="/api/v1/patients/{code}/trends")
    assert len(lines) == 1
    assert {"event": "request_answered", "route": "/api/v1/patients/{code}/trends", "status": 200}.items() <= lines[0].items()
    assert "P001" not in str(lines)
    assert "secret" not in str(lines)


# Bodies.

BOUNDS = BodyBounds(bytes_max=10, idle_s_max=0.05, total_s_max=5.0)


def limited(**routes: BodyBounds) -> BodyLimits:
    return BodyLimits(answering(reads_body=True), default=BOUNDS, routes={f"/{name}": bounds for name, bounds in routes.items()})


async def test_a_body_within_its_bounds_arrives_whole() -> None:
    assert (await ask(limited(), "POST", pieces=[b"01234", b"56789"])).body == b"0123456789"


@pytest.mark.parametrize(
    ("headers", "pieces"),
    [([(b"content-length", b"11")], [None]), ([], [b"0123456789", b"0"]), ([(b"content-length", b"5")], [b"0123456789", b"0"])],
    ids=["told", "not told", "told too little"],
)
async def test_a_body_that_is_too_large_is_refused_as_soon_as_that_is_known(
    headers: list[tuple[bytes, bytes]], pieces: list[bytes | None]
) -> None:
    with pytest.raises(BodyRefused) as caught:
        await ask(limited(), "POST", headers=headers, pieces=pieces)
    assert (caught.value.status_code, caught.value.problem.kind.status) == (413, 413)
    assert caught.value.problem.detail == "the body may have 10 bytes at most"


async def test_a_body_that_stops_coming_is_refused() -> None:
    with pytest.raises(BodyRefused) as caught:
        await ask(limited(), "POST", pieces=[b"0", None])
    assert caught.value.status_code == 408


async def test_a_body_that_only_drips_is_refused_in_the_end() -> None:
    bounds = BodyBounds(bytes_max=1000, idle_s_max=0.05, total_s_max=0.05)

    async def dripping() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"0", "more_body": True}

    with pytest.raises(BodyRefused) as caught:
        await BodyLimits(answering(reads_body=True), default=bounds, routes={})(
            {"type": "http", "method": "POST", "path": "/", "headers": []}, dripping, lambda _: asyncio.sleep(0)
        )
    assert caught.value.status_code == 408


async def test_what_a_route_leaves_of_a_body_is_dropped_before_its_answer() -> None:
    left = [b"01", b"23", b"45"]
    answered = await ask(BodyLimits(answering(401), default=BOUNDS, routes={}), "POST", pieces=left)
    assert (answered.status, answered.header("connection")) == (401, None)


@pytest.mark.parametrize(
    ("headers", "pieces"), [([(b"content-length", b"2000000")], [None]), ([], [b"0" * 700_000, b"0" * 700_000, None]), ([], [b"0", None])]
)
async def test_who_leaves_too_much_of_a_body_is_answered_and_cut_off(
    headers: list[tuple[bytes, bytes]], pieces: list[bytes | None]
) -> None:
    answered = await ask(BodyLimits(answering(401), default=BOUNDS, routes={}), "POST", headers=headers, pieces=pieces)
    assert (answered.status, answered.header("connection")) == (401, "close")


async def test_a_route_may_have_bounds_of_its_own() -> None:
    assert len((await ask(limited(large=BodyBounds(bytes_max=100)), "POST", "/large", pieces=[b"0" * 100])).body) == 100
    with pytest.raises(BodyRefused):
        await ask(limited(large=BodyBounds(bytes_max=100)), "POST", "/large/", pieces=[b"0" * 100])


async def test_a_length_that_is_no_number_changes_nothing() -> None:
    for length in (b"", b"-1", b"1e9", "²".encode("latin-1")):
        assert (await ask(limited(), "POST", headers=[(b"content-length", length)], pieces=[b"0"])).body == b"0"


def test_bounds_that_no_body_can_keep_are_refused() -> None:
    for wrong in ({"bytes_max": 0}, {"bytes_max": 1, "idle_s_max": 0.0}, {"bytes_max": 1, "idle_s_max": 2.0, "total_s_max": 1.0}):
        with pytest.raises(ValueError, match="no body"):
            BodyBounds(**wrong)


# All of them.


async def test_what_is_no_request_passes_all_of_them() -> None:
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    for middleware in (RequestIds(app), SecurityHeaders(app), observed(app)[0], BodyLimits(app, default=BOUNDS, routes={})):
        await ask(middleware, scope_type="lifespan")
    assert passed == ["lifespan"] * 4
