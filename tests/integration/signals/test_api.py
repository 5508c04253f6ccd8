"""GET /api/v1/sessions/{id}/signals/{channel}, on real recordings if they are at hand, with worker processes and Redis."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from arro3.io import read_ipc_stream
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from adapters.c3d.reader import C3dRecordingReader
from adapters.c3d.synthesis import synthesise
from adapters.http.app import create_app
from adapters.http.needs import HttpNeeds
from adapters.settings import Settings, load_settings
from container import Container, http_policy, resolve, running
from domain.analytics import AnalysisParameters
from domain.emg.envelope import envelope_as_analysed
from domain.session import SessionState, TherapySession
from domain.signals import SignalRequest
from tests.golden.comparison import RECORDINGS
from tests.http.api.service import SECRET, token
from tests.servers import OwnRedis
from tests.strategies import examples, new_id, some_session

REAL: Final = sorted(RECORDINGS.glob("*.c3d"))
PLAIN: Final = {"Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Service:
    """The service, a client of it, and a session in it."""

    app: Container
    http: FastAPI
    client: httpx.AsyncClient
    session: TherapySession
    recording: Path

    def at(self, channel: str = "all", **query: Any) -> str:
        return f"/api/v1/sessions/{self.session.session_id}/signals/{channel}?{httpx.QueryParams(query)}"

    async def get(self, channel: str = "all", headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
        return await self.client.get(self.at(channel, **query), headers=headers or PLAIN)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    yield await asyncio.to_thread(path.read_bytes)


@asynccontextmanager
async def serving(settings: Settings, recording: Path) -> AsyncIterator[Service]:
    async with running(settings) as app:

        @asynccontextmanager
        async def open_needs() -> AsyncIterator[HttpNeeds]:
            yield app.http()

        http = create_app(open_needs, http_policy(settings))
        store, registry = await resolve(app.recording_store), await resolve(app.session_registry)
        stored = await store.put(f"c3d/P-1/{recording.name}", pieces_of(recording))
        session = some_session(file_name=recording.name, recording_key=stored.key, recording_sha256=None, size_bytes=None)
        await registry.register(session)
        await (await resolve(app.therapy_session_processor)).process_session(session.session_id)
        transport = httpx.ASGITransport(app=http, client=("127.0.0.1", 5))
        async with http.router.lifespan_context(http), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            found = await registry.find(session.session_id)
            assert found is not None
            assert found.state is SessionState.COMPLETED
            yield Service(app, http, client, found, recording)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real recording, or else one that was made up."""
    return REAL[0] if REAL else synthesise(tmp_path_factory.mktemp("made") / "Ghostly_Emg_20250310_11-50-16-0578.c3d", seed=7).path


def settings_with(redis_url: str, redis_prefix: str, folder: Path, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "storage": "memory",
        "redis_url": redis_url,
        "redis_key_prefix": redis_prefix,
        "data_dir": folder,
        "analysis_processes": 1,
        "redis_command_timeout_ms": 2000,
        "redis_connect_timeout_ms": 2000,
    }
    return load_settings(**{**given, **changes})


@pytest.fixture(scope="module")
async def service(redis_url: str, tmp_path_factory: pytest.TempPathFactory, recording: Path) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("data")
    async with serving(settings_with(redis_url, f"test_{new_id().hex[:12]}", folder), recording) as service:
        yield service


async def test_all_channels_are_one_answer_with_every_peak(service: Service) -> None:
    answer = await service.get(kind=["raw", "envelope", "activated"])
    assert answer.status_code == 200, answer.text
    assert len(answer.content) <= 200_000
    document = answer.json()
    truth = C3dRecordingReader().read(service.recording, AnalysisParameters())
    assert (document["first_sample"], document["end_sample"]) == (0, truth.facts.samples)
    assert document["recording_sha256"] == truth.facts.sha256
    kinds = ["raw", "activated", "envelope"]
    assert [(s["channel"], s["kind"]) for s in document["signals"]] == [(c.name, kind) for c in truth.channels for kind in kinds]
    for signal in document["signals"]:
        channel = next(channel for channel in truth.channels if channel.name == signal["channel"])
        whole = {
            "raw": channel.raw,
            "activated": channel.activated,
            "envelope": envelope_as_analysed(channel.raw, truth.facts.sampling_rate_hz, AnalysisParameters()),
        }[signal["kind"]]
        assert whole is not None
        assert signal["missing"] is None
        assert 500 < len(signal["samples"]) <= 8000 // 6
        np.testing.assert_allclose(signal["values"], whole[signal["samples"]], rtol=1e-6)
        assert max(signal["values"]) == pytest.approx(whole.max(), rel=1e-6)
        assert min(signal["values"]) == pytest.approx(whole.min(), rel=1e-6)


async def test_a_window_of_one_channel(service: Service) -> None:
    document = (await service.get("CH1", start_s=10, end_s=10.5)).json()
    assert (document["first_sample"], document["end_sample"]) == (9900, 10395)
    assert document["signals"][0]["samples"] == list(range(9900, 10395))


@pytest.mark.parametrize("media_type", ["application/json", "application/vnd.apache.arrow.stream", "application/octet-stream"])
@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
async def test_every_form_in_every_coding_is_the_same_answer(service: Service, media_type: str, coding: str) -> None:
    answer = await service.get("CH2", {"Accept": media_type, "Accept-Encoding": coding}, points=700)
    assert answer.headers["content-type"].startswith(media_type)
    assert answer.headers.get("content-encoding", "identity") == coding
    assert answer.headers["vary"] == "Accept, Accept-Encoding, Authorization"
    assert answer.headers["cache-control"] == "private, no-cache"
    expected = (await service.get("CH2", points=700)).json()["signals"][0]["values"]
    match media_type:
        case "application/json":
            values = answer.json()["signals"][0]["values"]
        case "application/octet-stream":
            values = np.frombuffer(answer.content, "<f4")[-json.loads(answer.headers["emg-signals"])["signals"][0]["points"] :]
        case _:
            values = read_ipc_stream(io.BytesIO(answer.content)).read_all()["value"].to_numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-6)


async def test_what_the_client_has_is_304_in_the_form_that_it_has(service: Service) -> None:
    first = await service.get("CH1", points=50)
    etag = first.headers["etag"]
    same = await service.get("CH1", {**PLAIN, "If-None-Match": f'"other", {etag}'}, points=50)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert same.headers["vary"] == first.headers["vary"]
    for headers, query in (
        ({**PLAIN, "Accept": "application/octet-stream"}, {"points": 50}),
        ({"Accept-Encoding": "zstd, identity;q=0"}, {"points": 50}),
        (PLAIN, {"points": 51}),
        (PLAIN, {"points": 50, "start_s": 1}),
        (PLAIN, {"points": 50, "kind": "envelope"}),
    ):
        other = await service.get("CH1", {**headers, "If-None-Match": etag}, **query)
        assert other.status_code == 200
        assert other.headers["etag"] != etag


@pytest.mark.parametrize(
    ("channel", "query", "status", "kind"),
    [
        ("CH9", {}, 404, "unknown-channel"),
        ("", {}, 404, "unknown-channel"),
        ("CH1/x", {}, 404, "unknown-channel"),
        ("%2e%2e%2f%2e%2e%2fetc%2fpasswd", {}, 404, "unknown-channel"),
        ("%00", {}, 404, "unknown-channel"),
        ("x" * 301, {}, 422, "invalid-request"),
        ("CH1", {"start_s": "nan"}, 422, "invalid-request"),
        ("CH1", {"start_s": "-1"}, 422, "invalid-request"),
        ("CH1", {"start_s": "1e999"}, 422, "invalid-signal-request"),
        ("CH1", {"end_s": "inf"}, 422, "invalid-signal-request"),
        ("CH1", {"start_s": 1e6}, 422, "invalid-signal-request"),
        ("CH1", {"start_s": 9, "end_s": 8}, 422, "invalid-signal-request"),
        ("CH1", {"points": 3}, 422, "invalid-request"),
        ("CH1", {"points": 8001}, 422, "invalid-request"),
        ("all", {"points": 4001}, 422, "invalid-signal-request"),
        ("CH1", {"points": "9" * 5000}, 422, "invalid-request"),
        ("CH1", {"kind": "spectrum"}, 422, "invalid-request"),
        ("CH1", {"kind": ["raw"] * 11}, 422, "invalid-request"),
    ],
)
async def test_what_cannot_be_shown_is_a_problem_document(
    service: Service, channel: str, query: dict[str, Any], status: int, kind: str
) -> None:
    answer = await service.get(channel, **query)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].endswith(f":{kind}")


async def test_media_types_and_codings_that_are_not_there_are_406(service: Service) -> None:
    for headers in ({"Accept": "image/png"}, {"Accept-Encoding": "br, identity;q=0"}):
        answer = await service.get("CH1", headers)
        assert answer.status_code == 406
        assert answer.headers["content-type"] == "application/problem+json"


async def test_sessions_that_do_not_exist_are_404(service: Service) -> None:
    answer = await service.client.get(f"/api/v1/sessions/{new_id()}/signals/all")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (404, "session-not-found")
    assert (await service.client.get("/api/v1/sessions/none/signals/all")).status_code == 400


async def test_a_session_that_was_not_analysed_yet_is_404_and_says_so(service: Service) -> None:
    session = some_session()
    await (await resolve(service.app.session_registry)).register(session)
    answer = await service.client.get(f"/api/v1/sessions/{session.session_id}/signals/all")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (404, "not-analysed")


async def test_a_duplicate_leads_to_the_session_whose_recording_it_has(service: Service) -> None:
    registry = await resolve(service.app.session_registry)
    assert service.session.recording_sha256 is not None
    session = some_session(recording_sha256=None, size_bytes=None)
    await registry.register(session)
    await registry.identify(session.session_id, service.session.recording_sha256, 1)
    answer = await service.client.get(f"/api/v1/sessions/{session.session_id}/signals/CH%201?points=5&kind=raw")
    assert answer.status_code == 308
    assert answer.headers["location"] == f"/api/v1/sessions/{service.session.session_id}/signals/CH%201?points=5&kind=raw"


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
any_number = st.floats().map(str) | st.integers().map(str) | any_text


any_query = st.fixed_dictionaries(
    {"kind": st.lists(st.sampled_from(["raw", "envelope"]) | any_text, max_size=3)},
    optional={"start_s": any_number, "end_s": any_number, "points": any_number, "unknown": any_text},
)


@given(channel=st.sampled_from(["all", "CH1"]) | any_text, query=any_query)
@examples(60)
async def test_nothing_that_is_asked_is_too_much(service: Service, channel: str, query: dict[str, Any]) -> None:
    answer = await service.get(quote(channel, safe=""), **query)
    assert answer.status_code in (200, 404, 422), answer.text
    assert len(answer.content) <= 200_000


async def test_a_preview_is_made_once_and_then_remembered_by_others_too(
    redis_url: str, redis_prefix: str, tmp_path: Path, recording: Path
) -> None:
    settings = settings_with(redis_url, redis_prefix, tmp_path)
    async with serving(settings, recording) as one:
        answers = await asyncio.gather(*(one.get(points=321) for _ in range(10)))
        told = sorted(answer.headers["cache-status"].rpartition("=")[2] for answer in answers)
        assert told.count("made") == 1
        assert set(told) <= {"made", "joined"}
        assert len({answer.content for answer in answers}) == 1
        one.http.state.signal_forms.forget(one.session.session_id)  # As another process, which has made no form of it.
        again = await one.get(points=321)
        assert again.headers["cache-status"] == "emg-sessions; hit; detail=remembered"
        assert again.content == answers[0].content
        assert (await one.get(points=321)).headers["cache-status"] == "emg-sessions; hit; detail=near"


@pytest.mark.parametrize("failure", ["stop", "kill"])
async def test_without_redis_signals_are_drawn_all_the_same(
    own_redis: OwnRedis, redis_prefix: str, tmp_path: Path, recording: Path, failure: str
) -> None:
    settings = settings_with(own_redis.url, redis_prefix, tmp_path, redis_command_timeout_ms=100, redis_connect_timeout_ms=200)
    async with serving(settings, recording) as service:
        assert (await service.get("CH1", points=100)).status_code == 200
        getattr(own_redis, failure)()
        try:
            for points in (100, 101, 102):
                service.http.state.signal_forms.forget(service.session.session_id)
                answer = await service.get("CH1", points=points)
                assert (answer.status_code, answer.headers["cache-status"]) == (200, "emg-sessions; fwd=miss; detail=made")
        finally:
            own_redis.cont()


@pytest.mark.parametrize("cache", ["redis", "none"])
async def test_an_erased_session_is_erased_here_as_well(
    redis_url: str, redis_prefix: str, tmp_path: Path, recording: Path, cache: str
) -> None:
    async with serving(settings_with(redis_url, redis_prefix, tmp_path, cache=cache), recording) as service:
        etag = (await service.get("CH1", points=100)).headers["etag"]
        previews = await resolve(service.app.signal_previews)
        signals = await resolve(service.app.session_signals)
        plan = await signals.plan(service.session, SignalRequest(channel="CH1", points=100))
        assert plan is not None
        assert await previews.find(service.session.session_id, plan.key) is not None
        being_made = asyncio.create_task(service.get(points=99))
        assert (await service.client.delete(f"/api/v1/sessions/{service.session.session_id}")).status_code == 204
        assert (await being_made).status_code in (200, 404)
        assert await previews.find(service.session.session_id, plan.key) is None
        other = replace(plan, points=99, channels=("CH1", "CH2"))
        assert await previews.find(service.session.session_id, other.key) is None
        assert (await service.get("CH1", {**PLAIN, "If-None-Match": etag}, points=100)).status_code == 404
        assert files_in(tmp_path / "recordings") == []


async def test_signals_are_shown_to_whom_the_session_is_shown(redis_url: str, redis_prefix: str, tmp_path: Path, recording: Path) -> None:
    settings = settings_with(redis_url, redis_prefix, tmp_path, jwt_secret=SECRET, access_trust_s=0)
    async with serving(settings, recording) as service:
        assert service.session.patient_code is not None
        assignments = await resolve(service.app.patient_assignments)
        await assignments.assign(service.session.patient_code, "T1")
        etag = ""
        for subject, role, status in (
            ("T1", "therapist", 200), ("T2", "therapist", 404), ("R1", "researcher", 200), ("A1", "admin", 200), ("T2", "therapist", 404)
        ):  # fmt: skip
            headers = {**PLAIN, "Authorization": f"Bearer {token(subject, role)}", "If-None-Match": etag}
            answer = await service.get("CH1", headers, points=77)
            assert answer.status_code == (304 if etag and status == 200 else status)
            etag = answer.headers.get("etag", etag)
            if status == 404:
                unknown = await service.client.get(f"/api/v1/sessions/{new_id()}/signals/CH1?points=77", headers=headers)
                assert (unknown.status_code, unknown.content) == (404, answer.content)
        assert (await service.get("CH1", points=77)).status_code == 401


async def test_signals_are_drawn_from_a_copy_where_recordings_are_no_files(
    redis_url: str, redis_prefix: str, tmp_path: Path, recording: Path
) -> None:
    async with serving(settings_with(redis_url, redis_prefix, tmp_path, recordings_url="memory://"), recording) as service:
        answer = await service.get(points=50)
        assert (answer.status_code, answer.headers["cache-status"]) == (200, "emg-sessions; fwd=miss; detail=made")
        await (await resolve(service.app.recording_store)).delete(f"c3d/P-1/{recording.name}")
        gone = await service.get(points=51)
        assert (gone.status_code, gone.json()["type"].rpartition(":")[2]) == (404, "recording-not-found")
    assert files_in(tmp_path) == []
