"""The analytics route: what is passed on, in which coding, when nothing is, and that its two ways are one."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from adapters import document
from adapters.http.codings import CODINGS, choose, qualities
from adapters.settings import Settings
from domain.errors import StorageUnavailable
from domain.ports import DocumentAnswer, Freshness
from domain.session import SessionState, TherapySession
from tests.http.api.service import Service, serving
from tests.strategies import edition, examples, new_id, some_analytics

ZSTD = {"Accept-Encoding": "zstd"}


def path_of(session: TherapySession) -> str:
    return f"/api/v1/sessions/{session.session_id}/analytics"


async def raw(client: httpx.AsyncClient, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """The answer, and its body as it came."""
    async with client.stream("GET", path, headers=headers) as answer:
        return answer, b"".join([chunk async for chunk in answer.aiter_raw()])


def plain(coding: str | None, body: bytes) -> bytes:
    match coding:
        case "zstd":
            return zstandard.ZstdDecompressor().decompress(body)
        case "gzip":
            return gzip.decompress(body)
        case _:
            return body


# Codings


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "gzip"),
        ("gzip;q=0.5, zstd;q=0.4", "gzip"),
        ("*", "zstd"),
        ("br", None),
        ("", None),
        (None, None),
        ("identity", None),
        ("zstd;q=0, gzip;q=0", None),
        ("identity;q=0, *", "zstd"),
        ("ZSTD;Q=1.0", "zstd"),
        ("x-gzip", "gzip"),
        ("zstd;q=banana", None),
    ],
)
async def test_a_client_gets_the_coding_it_asks_for(service: Service, accept: str | None, coding: str | None) -> None:
    session = await service.session()
    stored = document.encode(await service.analytics(session))
    async with service.asked_by() as client:
        answer, body = await raw(client, path_of(session), **{} if accept is None else {"Accept-Encoding": accept})
    assert answer.status_code == 200
    assert answer.headers.get("content-encoding") == coding
    assert plain(coding, body) == stored
    assert int(answer.headers["content-length"]) == len(body)
    assert answer.headers["etag"] == f'"{session.session_id.hex}.1.{coding or "identity"}"'
    assert "Accept-Encoding" in answer.headers["vary"]
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["emg-analytics-version"] == "1"


@pytest.mark.parametrize("accept", ["identity;q=0", "*;q=0", "br, identity;q=0", "identity;q=0, zstd;q=0, gzip;q=0"])
async def test_a_client_that_accepts_no_coding_is_told_so(service: Service, accept: str) -> None:
    session = await service.session()
    async with service.asked_by(**{"Accept-Encoding": accept}) as client:
        answer = await client.get(path_of(session))
    assert (answer.status_code, answer.headers["content-type"]) == (406, "application/problem+json")
    assert answer.headers["vary"] == "Accept-Encoding"


async def test_the_stored_bytes_are_passed_on_as_they_are(service: Service) -> None:
    session = await service.session()
    stored = await service.repository.get_document(session.session_id)
    assert stored is not None
    async with service.asked_by() as client:
        answer, body = await raw(client, path_of(session), **ZSTD)
    assert (answer.headers["content-encoding"], body) == (stored.coding, stored.body)


codings = st.sampled_from(["zstd", "gzip", "identity", "br", "*", "x-gzip", "ZSTD"])
elements = st.one_of(
    codings,
    st.tuples(codings, st.sampled_from(["0", "0.0", "0.001", "0.5", "1", "1.000", "2", "-1", "x", ""])).map(
        lambda pair: f"{pair[0]};q={pair[1]}"
    ),
    st.text(max_size=8),
)


@given(accept=st.lists(elements, max_size=6), stored=st.sampled_from(CODINGS), size=st.integers(0, 10_000))
@examples(500)
def test_what_is_chosen_is_accepted_and_nothing_is_wanted_more(accept: list[str], stored: Any, size: int) -> None:
    header = ",".join(accept).encode("utf-8")
    wanted = qualities(header)
    chosen = choose(header, stored, size)
    if chosen is None:
        assert not any(wanted.values())
        return
    assert wanted[chosen] > 0
    if not (chosen == stored == "identity" and size < 1024):
        assert wanted[chosen] == max(wanted.values())
    if stored != "identity" and wanted[stored] == max(wanted.values()):
        assert chosen == stored


# Entity tags


class Counting:
    """Counts what the service asks of its repository."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name in ("get", "get_document", "get_version"):
            monkeypatch.setattr(service.repository, name, self._counted(name, getattr(service.repository, name)))

    def _counted(self, name: str, method: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            return await method(*args, **kwargs)

        return call


@pytest.mark.parametrize("role", ["admin", "researcher"])
@pytest.mark.parametrize("accept", ["zstd", "gzip", "identity"])
async def test_who_has_the_present_version_is_told_so_without_reading_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, accept: str, role: str
) -> None:
    session = await service.session()
    async with service.asked_by(role=role, **{"Accept-Encoding": accept}) as client:
        first = await client.get(path_of(session))
        counting = Counting(service, monkeypatch)
        for tags in (first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*"):
            again = await client.get(path_of(session), headers={"If-None-Match": tags})
            assert (again.status_code, again.content) == (304, b"")
            for name in ("etag", "vary", "cache-control", "emg-analytics-version"):
                assert again.headers[name] == first.headers[name]
            assert "content-length" not in again.headers
    assert counting.calls == ["get_version"] * 3


async def test_who_has_another_version_or_another_form_gets_the_document(service: Service) -> None:
    session = await service.session()
    async with service.asked_by(**ZSTD) as client:
        old = (await client.get(path_of(session))).headers["etag"]
        receipt = await service.repository.save(edition(session.session_id, 7))
        mine = f'"{session.session_id.hex}.{receipt.version}'
        for tags in (old, f'{mine}.gzip"', f'{mine}.zstd.anonymous"', f'"{new_id().hex}.{receipt.version}.zstd"', "junk", '""', '"' * 500):
            answer = await client.get(path_of(session), headers={"If-None-Match": tags})
            assert answer.status_code == 200, tags
            assert answer.headers["etag"] == f'{mine}.zstd"'


async def test_the_forms_of_one_version_have_tags_of_their_own(service: Service) -> None:
    session = await service.session()
    tags = set()
    for role in ("admin", "researcher"):
        for accept in CODINGS:
            async with service.asked_by(role=role, **{"Accept-Encoding": accept}) as client:
                tags.add((await client.get(path_of(session))).headers["etag"])
    assert len(tags) == 2 * len(CODINGS)


async def test_a_tag_of_what_one_may_not_see_is_404(service: Service, therapist: str) -> None:
    session = await service.session(patient="P of another")
    async with service.asked_by(therapist, "therapist") as client:
        for tags in ("*", f'"{session.session_id.hex}.1.identity"'):
            assert (await client.get(path_of(session), headers={"If-None-Match": tags})).status_code == 404


# How an answer was come by


async def test_an_answer_says_where_it_comes_from_and_how_old_it_is(service: Service) -> None:
    session = await service.session()
    async with service.asked_by(**ZSTD) as client:
        answer = await client.get(path_of(session))
        insisted = await client.get(path_of(session), headers={"Cache-Control": "no-cache"})
    assert answer.headers["cache-status"] == "emg-sessions; hit; detail=near"
    assert insisted.headers["cache-status"] == "emg-sessions; hit; detail=redis"
    assert int(answer.headers["age"]) in range(60)
    assert "emg-stale" not in answer.headers


async def test_the_truth_answers_as_a_miss(open_service: Service) -> None:
    session = await open_service.session()
    async with open_service.client() as client:
        answer = await client.get(path_of(session))
    assert (answer.headers["cache-status"], answer.headers["age"]) == ("emg-sessions; fwd=miss; detail=memory", "0")


@pytest.mark.parametrize("role", ["admin", "researcher"])
async def test_a_stale_answer_is_marked(service: Service, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    analytics = some_analytics()
    stored = DocumentAnswer(document.encode(analytics), "identity", 3, "redis", 75.5, stale=True)

    async def stale_document(*_: Any, **__: Any) -> DocumentAnswer:
        return stored

    async def stale(*_: Any, **__: Any) -> Any:
        from domain.ports import AnalyticsAnswer

        return AnalyticsAnswer(analytics, 3, "redis", 75.5, stale=True)

    monkeypatch.setattr(service.repository, "get_document", stale_document)
    monkeypatch.setattr(service.repository, "get", stale)
    async with service.asked_by(role=role) as client:
        answer = await client.get(f"/api/v1/sessions/{analytics.session_id}/analytics")
    assert answer.status_code == 200
    assert answer.headers["emg-stale"] == "?1"
    assert answer.headers["cache-status"] == "emg-sessions; fwd=stale; detail=redis"
    assert answer.headers["age"] == "75"


async def test_what_a_client_has_seen_and_insists_on_reaches_the_repository(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await service.session()
    asked: list[dict[str, Any]] = []
    get_document = service.repository.get_document

    async def noting(session_id: Any, **wanted: Any) -> Any:
        asked.append(wanted)
        return await get_document(session_id, **wanted)

    monkeypatch.setattr(service.repository, "get_document", noting)
    async with service.asked_by() as client:
        await client.get(path_of(session))
        await client.get(path_of(session), headers={"Emg-At-Least-Version": "1", "Cache-Control": "no-cache"})
    assert asked == [
        {"freshness": Freshness.BOUNDED, "at_least": None},
        {"freshness": Freshness.FRESH, "at_least": 1},
    ]


@pytest.mark.parametrize("version", ["-1", "1.5", "x", "", "9" * 30, "1e3", "٣"])
async def test_an_absurd_version_is_400(service: Service, version: str) -> None:
    session = await service.session()
    async with service.asked_by() as client:
        answer = await client.get(path_of(session), headers={b"Emg-At-Least-Version": version.encode()})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:problem-type:emg-sessions:invalid-header")


# What there is not


async def test_what_was_not_analysed_yet_is_404_and_says_why(service: Service) -> None:
    session = await service.session(analysed=False)
    async with service.asked_by() as client:
        answer = await client.get(path_of(session))
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:problem-type:emg-sessions:not-analysed")
    assert "'received'" in answer.json()["detail"]


async def test_a_duplicate_leads_to_the_session_it_is_the_same_as(service: Service) -> None:
    original = await service.session()
    duplicate = await service.session(analysed=False, recording_sha256=None)
    assert original.recording_sha256 is not None
    noted = await service.registry.identify(duplicate.session_id, original.recording_sha256, 1)
    assert noted is not None
    assert noted.state is SessionState.DUPLICATE
    async with service.asked_by() as client:
        answer = await client.get(path_of(duplicate))
        shown = await client.get(f"/api/v1/sessions/{duplicate.session_id}")
    assert (answer.status_code, answer.headers["location"]) == (308, path_of(original))
    assert (shown.status_code, shown.headers["location"]) == (308, f"/api/v1/sessions/{original.session_id}")


# The two ways


@pytest.fixture
async def slow_way(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Ask the same application past its fast path."""
    front = service.app.front._app  # type: ignore[attr-defined]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["app"] = service.app
        await front(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        for name in list(client.headers):
            del client.headers[name]
        yield client


ASKED = [
    {},
    {"Accept-Encoding": "zstd"},
    {"Accept-Encoding": "gzip"},
    {"Accept-Encoding": "identity;q=0"},
    {"If-None-Match": "*"},
    {"Emg-At-Least-Version": "x"},
    {"Authorization": "Bearer nonsense"},
    {"Authorization": ""},
    {"X-Request-Id": "an-id-of-the-client"},
]


@pytest.mark.parametrize("headers", ASKED, ids=str)
@pytest.mark.parametrize("what", ["analysed", "waiting", "unknown", "no id"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_both_ways_answer_alike(
    service: Service, slow_way: httpx.AsyncClient, headers: dict[str, str], what: str, method: str
) -> None:
    sessions = {"analysed": await service.session(), "waiting": await service.session(analysed=False)}
    session_id = sessions[what].session_id if what in sessions else new_id() if what == "unknown" else "x" * 36
    path = f"/api/v1/sessions/{session_id}/analytics"
    async with service.asked_by(role="researcher") as fast_way:
        sent = dict(fast_way.headers) | {name.lower(): value for name, value in headers.items()}
        fast = await fast_way.request(method, path, headers=sent)
        slow = await slow_way.request(method, path, headers=sent)
    assert (fast.status_code, fast.content) == (slow.status_code, slow.content)
    differ = () if "X-Request-Id" in headers else ("x-request-id",)
    assert sorted(pair for pair in fast.headers.multi_items() if pair[0] not in differ) == sorted(
        pair for pair in slow.headers.multi_items() if pair[0] not in differ
    )
    assert fast.headers["x-request-id"]


async def test_what_is_not_exactly_the_route_goes_the_ordinary_way(service: Service) -> None:
    session = await service.session()
    async with service.asked_by() as client:
        for path in (f"{path_of(session)}/", f"{path_of(session)}x", f"/api/v1/sessions/{session.session_id}x/analytics"):
            assert (await client.get(path)).status_code in (400, 404)
        assert (await client.post(path_of(session))).status_code == 405
        assert (await client.get(f"{path_of(session)}?unknown=1")).status_code == 200


async def test_a_storage_that_is_away_is_503_on_both_ways(
    service: Service, slow_way: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("the database at db.internal:5432 does not answer")

    session = await service.session()
    monkeypatch.setattr(service.repository, "get_document", away)
    async with service.asked_by() as client:
        for way in (client, slow_way):
            answer = await way.get(path_of(session), headers=client.headers)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "db.internal" not in answer.text


async def test_without_a_cache_and_in_memory_the_route_works_too(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"storage": "memory", "cache": "none", "jwt_secret": None})) as service:
        session = await service.session()
        async with service.client(**{"Accept-Encoding": "zstd"}) as client:
            first = await client.get(path_of(session))
            again = await client.get(path_of(session), headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, first.headers["content-encoding"], again.status_code) == (200, "zstd", 304)
