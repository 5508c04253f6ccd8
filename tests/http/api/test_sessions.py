"""The list of sessions, one of them, batches, trends and erasure."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters import document
from adapters.settings import Settings
from container import resolve, running
from domain.ports import Freshness
from domain.session import SessionId, SessionState
from tests.http.api.service import Service
from tests.patience import eventually
from tests.strategies import new_id, some_analytics

FIRST = datetime(2026, 3, 1, 10, 0, 0)  # noqa: DTZ001 - recordings name no time zone


async def test_pages_show_every_session_once_whatever_arrives_meanwhile(service: Service, patient: str) -> None:
    sessions = [await service.session(patient=patient, analysed=number % 2 == 0) for number in range(7)]
    seen: list[str] = []
    async with service.asked_by() as client:
        cursor: str | None = None
        for size in (3, 3, 1):
            wanted = {"patient_code": patient, "limit": "3"} | ({"cursor": cursor} if cursor else {})
            page = (await client.get("/api/v1/sessions", params=wanted)).json()
            assert len(page["sessions"]) == size
            seen += [each["id"] for each in page["sessions"]]
            cursor = page["next_cursor"]
            await service.session(patient=patient, analysed=False)
    assert cursor is None
    assert sorted(seen) == sorted(str(session.session_id) for session in sessions)


async def test_a_page_tells_of_each_session_and_its_analytics_in_brief(service: Service, patient: str) -> None:
    session = await service.session(patient=patient)
    analytics = await service.analytics(session)
    async with service.asked_by() as client:
        (shown,) = (await client.get("/api/v1/sessions", params={"patient_code": patient})).json()["sessions"]
    assert (shown["id"], shown["state"], shown["patient_code"]) == (str(session.session_id), "completed", patient)
    assert shown["analytics"]["overall_compliance"] == analytics.summary.overall_compliance
    assert [channel["name"] for channel in shown["analytics"]["channels"]] == [channel.name for channel in analytics.channels]
    assert [channel["mvc_source"] for channel in shown["analytics"]["channels"]] == [channel.mvc.source for channel in analytics.channels]


async def test_a_session_that_was_completed_elsewhere_is_never_shown_without_its_analytics(
    service: Service, settings: Settings, patient: str
) -> None:
    """This process has just learned, and for a moment believes, that there are none."""
    session = await service.session(patient=patient, analysed=False)
    path = f"/api/v1/sessions/{session.session_id}"
    async with service.asked_by() as client, running(settings) as elsewhere:
        repository, registry = await resolve(elsewhere.session_analytics), await resolve(elsewhere.session_registry)
        assert (await client.get(path)).json()["analytics"] is None
        await repository.save(some_analytics(session.session_id))
        await registry.note(session.session_id, SessionState.COMPLETED, progress=1.0)
        shown = (await client.get(path)).json()
    assert (shown["state"], shown["analytics"] is None, shown["recording"] is None) == ("completed", False, False)


async def test_pages_of_patients_show_each_once(service: Service, therapist: str, patient: str) -> None:
    codes = [f"{patient}{letter}" for letter in "äbcde"]
    for code in codes:
        await service.assignments.assign(code, therapist)
        await service.session(patient=code, analysed=False)
    seen: list[str] = []
    cursor: str | None = None
    async with service.asked_by(therapist, "therapist") as client:
        for size in (2, 2, 1):
            page = (await client.get("/api/v1/patients", params={"limit": "2"} | ({"cursor": cursor} if cursor else {}))).json()
            assert len(page["patients"]) == size
            seen += [each["patient_code"] for each in page["patients"]]
            cursor = page["next_cursor"]
    assert cursor is None
    assert sorted(seen) == sorted(codes)


@pytest.mark.parametrize("role", ["admin", "researcher"])
async def test_analytics_that_were_completed_elsewhere_are_not_denied(
    service: Service, settings: Settings, patient: str, role: str
) -> None:
    session = await service.session(patient=patient, analysed=False)
    path = f"/api/v1/sessions/{session.session_id}/analytics"
    async with service.asked_by(role=role) as client, running(settings) as elsewhere:
        repository, registry = await resolve(elsewhere.session_analytics), await resolve(elsewhere.session_registry)
        denied = await client.get(path)
        assert (denied.status_code, denied.json()["type"].rpartition(":")[2]) == (404, "not-analysed")
        await repository.save(some_analytics(session.session_id))
        await registry.note(session.session_id, SessionState.COMPLETED, progress=1.0)
        assert (await client.get(path)).status_code == 200


async def test_a_page_tells_of_analytics_that_were_completed_elsewhere(service: Service, settings: Settings, patient: str) -> None:
    sessions = [await service.session(patient=patient, analysed=False) for _ in range(3)]
    page: dict[str, Any] = {"url": "/api/v1/sessions", "params": {"patient_code": patient}}
    async with service.asked_by() as client, running(settings) as elsewhere:
        repository, registry = await resolve(elsewhere.session_analytics), await resolve(elsewhere.session_registry)
        assert [shown["analytics"] for shown in (await client.get(**page)).json()["sessions"]] == [None] * 3
        for session in sessions[:2]:
            await repository.save(some_analytics(session.session_id))
            await registry.note(session.session_id, SessionState.COMPLETED, progress=1.0)
        shown = (await client.get(**page)).json()["sessions"]
    assert {each["id"] for each in shown if each["analytics"] is not None} == {str(session.session_id) for session in sessions[:2]}


async def test_a_batch_has_what_was_completed_elsewhere(service: Service, settings: Settings, patient: str) -> None:
    sessions = [await service.session(patient=patient, analysed=False) for _ in range(3)]
    ids = [str(session.session_id) for session in sessions]
    batch: dict[str, Any] = {"url": "/api/v1/analytics/batch", "json": {"session_ids": ids}}
    async with service.asked_by() as client, running(settings) as elsewhere:
        repository = await resolve(elsewhere.session_analytics)
        assert (await client.post(**batch)).json()["missing"] == ids
        for session in sessions[:2]:
            await repository.save(some_analytics(session.session_id))
        answered = (await client.post(**batch)).json()
    assert ([each["session_id"] for each in answered["analytics"]], answered["missing"]) == (ids[:2], ids[2:])


async def test_a_batch_is_read_at_once_and_only_what_is_missing_twice(
    service: Service, patient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [(await service.session(patient=patient)).session_id for _ in range(3)]
    nowhere = (await service.session(patient=patient, analysed=False)).session_id
    asked: list[tuple[list[SessionId], Freshness]] = []
    get_many = service.repository.get_many

    async def noting(ids: Any, *, freshness: Freshness = Freshness.BOUNDED) -> Any:
        asked.append((list(ids), freshness))
        return await get_many(ids, freshness=freshness)

    monkeypatch.setattr(service.repository, "get_many", noting)
    monkeypatch.setattr(service.repository, "get", None)
    async with service.asked_by() as client:
        for wanted in (there, [nowhere, *there]):
            answer = await client.post("/api/v1/analytics/batch", json={"session_ids": [str(session_id) for session_id in wanted]})
            assert len(answer.json()["analytics"]) == 3
    assert asked == [(there, Freshness.BOUNDED), ([nowhere, *there], Freshness.BOUNDED), ([nowhere], Freshness.FRESH)]


@pytest.mark.parametrize("cursor", ["", "nothing", "AA==", "_w==", "ä", "Cg=="])
async def test_a_cursor_of_patients_that_is_none_is_a_problem(service: Service, cursor: str) -> None:
    async with service.asked_by() as client:
        answer = await client.get("/api/v1/patients", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (400, "invalid-cursor")


async def test_a_list_reads_all_summaries_at_once(service: Service, patient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        await service.session(patient=patient)
    asked: list[int] = []
    get_many = service.repository.get_many

    async def noting(ids: Any, **wanted: Any) -> Any:
        asked.append(len(ids))
        return await get_many(ids, **wanted)

    monkeypatch.setattr(service.repository, "get_many", noting)
    monkeypatch.setattr(service.repository, "get", None)
    async with service.asked_by() as client:
        assert len((await client.get("/api/v1/sessions", params={"patient_code": patient})).json()["sessions"]) == 5
    assert asked == [5]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"state": "completed"}, [0]),
        ({"state": "received"}, [1, 2]),
        ({"recorded_from": "2026-03-02T00:00:00"}, [1, 2]),
        ({"recorded_before": "2026-03-02T10:00:00"}, [0]),
        ({"recorded_from": "2026-03-02T10:00", "recorded_before": "2026-03-03T10:00:00.5"}, [1, 2]),
        ({"state": "failed"}, []),
    ],
    ids=str,
)
async def test_filters(service: Service, patient: str, wanted: dict[str, str], found: list[int]) -> None:
    sessions = [await service.session(patient=patient, analysed=day == 0, recorded_at=FIRST + timedelta(days=day)) for day in range(3)]
    async with service.asked_by() as client:
        listed = (await client.get("/api/v1/sessions", params={"patient_code": patient} | wanted)).json()["sessions"]
    assert {each["id"] for each in listed} == {str(sessions[number].session_id) for number in found}


ABSURD = [
    {"limit": "0"}, {"limit": "201"}, {"limit": "1e9"}, {"limit": ""}, {"limit": "-1"}, {"state": "duplicate"}, {"state": "x"},
    {"recorded_from": "yesterday"}, {"recorded_from": "0"}, {"recorded_from": "2026-13-01T00:00:00"},
    {"recorded_from": "2026-03-01T00:00:00Z"},
    {"patient_code": ""}, {"patient_code": "x" * 101}, {"patient_code": "a\x00b"}, {"cursor": "x" * 101},
]  # fmt: skip


@pytest.mark.parametrize("query", ABSURD, ids=str)
async def test_absurd_queries_are_422_and_their_values_are_not_repeated(service: Service, query: dict[str, str]) -> None:
    async with service.asked_by() as client:
        answer = await client.get("/api/v1/sessions", params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    (wrong,) = answer.json()["errors"]
    ((name, value),) = query.items()
    assert (wrong["in"], wrong["name"]) == ("query", name)
    assert len(value) < 5 or value not in answer.text


@pytest.mark.parametrize("cursor", ["x", "====", "QUJD", "é", "A" * 31, "A" * 36, "AAAA AAAA", "f" * 32])
async def test_what_is_no_cursor_is_400(service: Service, cursor: str) -> None:
    async with service.asked_by() as client:
        answer = await client.get("/api/v1/sessions", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:problem-type:emg-sessions:invalid-cursor")


async def test_a_session_is_shown_from_its_arrival_on(service: Service, patient: str) -> None:
    session = await service.session(patient=patient, analysed=False)
    async with service.asked_by() as client:
        path = f"/api/v1/sessions/{session.session_id}"
        waiting = (await client.get(path)).json()
        assert (waiting["state"], waiting["analytics"], waiting["recording"]) == ("received", None, None)
        await service.registry.note(session.session_id, SessionState.FAILED, failure="this is no C3D file")
        assert (await client.get(path)).json()["failure"] == "this is no C3D file"


@pytest.mark.parametrize("session_id", ["x", "6f1c1c3e", "../../etc/passwd", "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a1g", "%00", "0" * 36])
async def test_what_is_no_session_id_is_told_so(service: Service, session_id: str) -> None:
    async with service.asked_by() as client:
        for path in (f"/api/v1/sessions/{session_id}", f"/api/v1/sessions/{session_id}/analytics"):
            answer = await client.get(path)
            assert answer.status_code in (400, 404)
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_batch_answers_the_documents_themselves(service: Service) -> None:
    sessions = [await service.session() for _ in range(3)]
    waiting, unknown = await service.session(analysed=False), new_id()
    ids = [str(each.session_id) for each in (*sessions[::-1], waiting)] + [str(unknown), str(sessions[0].session_id)]
    async with service.asked_by() as client:
        answer = await client.post("/api/v1/analytics/batch", json={"session_ids": ids})
    assert [each["session_id"] for each in answer.json()["analytics"]] == ids[:3]
    assert answer.json()["missing"] == ids[3:5]
    for each in answer.json()["analytics"]:
        stored = await service.repository.get(SessionId(UUID(each["session_id"])))
        assert stored is not None
        assert each["document"] == json.loads(document.encode(stored.analytics))
        assert (each["version"], each["stale"]) == (1, False)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"session_ids":[]}', b'{"session_ids":["x"]}', b'{"session_ids":[1]}', b"[]", b"x", b"", b"\xff"]
)
async def test_what_is_no_batch_is_refused(service: Service, body: bytes) -> None:
    async with service.asked_by(**{"Content-Type": "application/json"}) as client:
        answer = await client.post("/api/v1/analytics/batch", content=body)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_batch_is_bounded(service: Service) -> None:
    async with service.asked_by() as client:
        answer = await client.post("/api/v1/analytics/batch", json={"session_ids": [str(new_id()) for _ in range(101)]})
    assert answer.status_code == 422


async def test_a_trend_follows_a_metric_in_order_of_recording(service: Service, patient: str) -> None:
    sessions = [await service.session(patient=patient, recorded_at=FIRST + timedelta(days=day)) for day in (2, 0, 1)]
    await service.session(patient=patient, analysed=False)
    analytics = await service.analytics(sessions[0])
    async with service.asked_by() as client:
        trend = (await client.get(f"/api/v1/patients/{patient}/trends", params={"metric": "mdf_hz"})).json()
        last = (await client.get(f"/api/v1/patients/{patient}/trends", params={"sessions": 2})).json()
    assert (trend["metric"], trend["sessions"], trend["truncated"]) == ("mdf_hz", 3, False)
    assert [channel["name"] for channel in trend["channels"]] == [channel.name for channel in analytics.channels]
    points = trend["channels"][0]["points"]
    assert [point["session_id"] for point in points] == [str(sessions[number].session_id) for number in (1, 2, 0)]
    assert {point["value"] for point in points} == {analytics.channels[0].mdf_hz}
    assert (last["sessions"], last["truncated"], last["metric"]) == (2, True, "compliance_rate")


async def test_an_unknown_metric_is_422(service: Service, patient: str) -> None:
    async with service.asked_by() as client:
        assert (await client.get(f"/api/v1/patients/{patient}/trends", params={"metric": "__class__"})).status_code == 422


async def test_what_is_erased_is_gone_everywhere(service: Service, patient: str) -> None:
    session = await service.session(patient=patient)
    path = f"/api/v1/sessions/{session.session_id}"
    async with service.asked_by(**{"Accept-Encoding": "gzip"}) as client:
        etag = (await client.get(f"{path}/analytics")).headers["etag"]
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
        assert (await client.get(f"{path}/analytics")).status_code == 404
        assert (await client.get(f"{path}/analytics", headers={"If-None-Match": etag})).status_code == 404
        assert (await client.delete(path)).status_code == 404
    assert not any(made.session_id == session.session_id for made in service.app.state.representations._made)


async def test_events_tell_each_change_and_end_with_the_last(service: Service, patient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await service.session(patient=patient, analysed=False)
    access = await resolve(service.container.session_access)
    find = service.registry.find
    steps = iter([(SessionState.PROCESSING, 0.5), (SessionState.PROCESSING, 0.5), (SessionState.COMPLETED, 1.0)])

    async def finding(session_id: SessionId) -> Any:
        found = await find(session_id)
        state, progress = next(steps, (SessionState.COMPLETED, 1.0))
        await service.registry.note(session_id, state, progress=progress)
        return found

    monkeypatch.setattr(access, "_find", finding)
    async with service.asked_by() as client:
        answer = await client.get(f"/api/v1/sessions/{session.session_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert answer.text.startswith("retry: "), "an EventSource would come again at once"
    assert [(event["state"], event["progress"]) for event in events][:2] == [("received", 0.0), ("processing", 0.5)]
    await eventually(lambda: _open_streams(service), lambda streams: streams == 0)


async def _open_streams(service: Service) -> int:
    count: int = service.app.state.event_streams.open
    return count


async def test_too_many_followers_are_told_to_come_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await service.session(analysed=False)
    monkeypatch.setattr(service.app.state.event_streams, "open", 100)
    async with service.asked_by() as client:
        answer = await client.get(f"/api/v1/sessions/{session.session_id}/events")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
