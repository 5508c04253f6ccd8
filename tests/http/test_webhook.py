"""The storage's webhook on a real server and a real database."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.http.signature import sign
from container import resolve
from tests.http.conftest import MakeSettings
from tests.http.serving import WEBHOOK, WEBHOOK_SECRET, Served, bearer, event_of, problem_of, served


async def test_an_event_is_a_session_and_a_job(service: Served) -> None:
    response = await service.tell(event_of())
    assert response.status_code == 202
    taken = response.json()
    assert taken["status"] == "received"
    assert taken["session_url"] == response.headers["location"] == f"/api/v1/sessions/{taken['session_id']}"
    assert await service.counts() == (1, 1)
    told = (await service.client.get(taken["session_url"], headers=bearer("admin"))).json()
    assert (told["state"], told["file_name"], told["patient_code"], told["size_bytes"]) == ("received", "a.c3d", "P001", 1000)


async def test_an_event_told_again_is_the_same_session(service: Served) -> None:
    first = await service.tell(event_of())
    again = await service.tell(event_of())
    assert again.status_code == 200
    assert again.json() == first.json() | {"status": "known"}
    assert again.headers["location"] == first.headers["location"]
    assert await service.counts() == (1, 1)


async def test_fifty_deliveries_at_once_are_one_session_and_one_job(service: Served) -> None:
    responses = await asyncio.gather(*(service.tell(event_of()) for _ in range(50)))
    assert sorted(response.status_code for response in responses) == [200] * 49 + [202]
    assert len({response.json()["session_id"] for response in responses}) == 1
    assert await service.counts() == (1, 1)


async def test_new_contents_under_the_same_name_are_another_session(service: Served) -> None:
    first = await service.tell(event_of())
    second = await service.tell(event_of(kind="UPDATE", metadata={"eTag": "another", "size": 1}))
    assert second.status_code == 202
    assert second.json()["session_id"] != first.json()["session_id"]
    assert await service.counts() == (2, 2)


async def test_an_event_brings_mvc_values_and_another_brings_others(service: Served) -> None:
    first = await service.tell(event_of(user_metadata={"mvc": "CH1=0.0003"}))
    again = await service.tell(event_of(user_metadata={"mvc": "CH1=0.0003", "note": 1}))
    assert [first.json()["status"], again.json()["status"]] == ["received", "known"]
    other = await service.tell(event_of(kind="UPDATE", user_metadata={"mvc": "0.0005"}))
    assert (other.status_code, other.json()["status"]) == (202, "remeasured")
    assert other.json()["session_id"] == first.json()["session_id"]
    told = (await service.client.get(first.json()["session_url"], headers=bearer("admin"))).json()
    assert told["mvc"] == {"every_channel": 0.0005, "by_channel": {}}
    assert await service.counts() == (1, 2)
    without = await service.tell(event_of())
    assert (without.status_code, without.json()["status"]) == (200, "known")
    metrics = (await service.client.get("/metrics")).text
    assert 'emg_webhook_events_total{outcome="remeasured"} 1.0' in metrics


@pytest.mark.parametrize("mvc", ["much", "CH1=0", 0.0003, {"CH1": 0.0003}, ["CH1=0.0003"], "C" * 4000 + "=1"])
async def test_an_event_with_mvc_values_that_are_none_is_a_problem_and_leaves_nothing(service: Served, mvc: object) -> None:
    response = await service.tell(event_of(user_metadata={"mvc": mvc}))
    assert problem_of(response, 422) == "malformed-event"
    assert response.json()["detail"].startswith("record.user_metadata.mvc must ")
    assert await service.counts() == (0, 0)


async def test_an_event_told_again_brings_a_patient_to_a_session_without_one_and_no_other(settings_for: MakeSettings) -> None:
    event = event_of("P001/a.c3d")
    for pattern, patient in (("X[0-9]+", None), ("P[0-9]+", "P001"), ("X[0-9]+", "P001")):
        async with served(settings_for(cache="none", webhook_patient_pattern=pattern)) as service:
            assert (await service.tell(event)).status_code == (202 if patient is None else 200)
            assert await service.rows("SELECT patient_code FROM therapy_session") == [(patient,)]
            assert await service.counts() == (1, 1)


async def test_it_answers_after_one_transaction(service: Served) -> None:
    engine: AsyncEngine = await resolve(service.app.engine)
    await service.tell(event_of("P001/warm.c3d"))
    statements: list[str] = []
    listener: Any = lambda *facts: statements.append(facts[2])  # noqa: E731
    sa.event.listen(engine.sync_engine, "before_cursor_execute", listener)
    try:
        await service.tell(event_of())
    finally:
        sa.event.remove(engine.sync_engine, "before_cursor_execute", listener)
    assert len(statements) == 1, "the transaction is one statement: each round trip waits for its turn on a busy machine"
    ((same,),) = await service.rows(
        "SELECT bool_and(session.xmin = job.xmin) FROM therapy_session session"
        " JOIN procrastinate_jobs job ON job.args ->> 'session_id' = session.session_id::text"
    )
    assert same, "the session and its job were not written by the same transaction"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (event_of(kind="DELETE"), "only INSERT and UPDATE"),
        (event_of("P001/notes.txt"), "WEBHOOK_NAME_PATTERN"),
        (event_of().replace(b'"storage"', b'"public"'), "storage.objects"),
    ],
)
async def test_what_is_ignored_says_why_and_leaves_nothing(service: Served, body: bytes, reason: str) -> None:
    response = await service.tell(body)
    assert response.status_code == 200
    assert response.json()["status"] == "ignored"
    assert reason in response.json()["reason"]
    assert "location" not in response.headers
    assert await service.counts() == (0, 0)


async def test_a_bucket_and_a_pattern_can_be_chosen(settings_for: MakeSettings) -> None:
    chosen = settings_for(cache="none", webhook_bucket="emg", webhook_name_pattern="*/raw/*", webhook_patient_pattern="[a-z]+")
    async with served(chosen) as service:
        assert (await service.tell(event_of("anna/raw/x", bucket_id="emg"))).status_code == 202
        assert (await service.tell(event_of("anna/raw/x"))).json()["status"] == "ignored"
        assert (await service.tell(event_of("anna/x", bucket_id="emg"))).json()["status"] == "ignored"
        assert await service.rows("SELECT patient_code FROM therapy_session") == [("anna",)]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-supabase-signature": ""},
        {"x-supabase-signature": "sha256="},
        {"x-supabase-signature": sign(event_of(), "another secret")},
        {"x-supabase-signature": sign(b"another body", WEBHOOK_SECRET)},
        {"x-supabase-signature": f"sha1={sign(event_of(), WEBHOOK_SECRET)}"},
    ],
    ids=["none", "empty", "no digits", "another secret", "another body", "another algorithm"],
)
async def test_a_bad_signature_is_refused_and_leaves_nothing(service: Served, headers: dict[str, str]) -> None:
    response = await service.client.post(WEBHOOK, content=event_of(), headers={"content-type": "application/json"} | headers)
    assert problem_of(response, 401) == "bad-signature"
    assert await service.counts() == (0, 0)


async def test_two_signatures_are_refused_even_if_one_is_good(service: Served) -> None:
    headers = [
        ("content-type", "application/json"),
        ("x-supabase-signature", sign(event_of(), WEBHOOK_SECRET)),
        ("x-supabase-signature", "0"),
    ]
    assert problem_of(await service.client.post(WEBHOOK, content=event_of(), headers=headers), 401) == "bad-signature"


async def test_the_body_is_not_looked_into_before_its_signature(service: Served) -> None:
    for body in (b"no json", b"[" * 10_000, event_of("../x")):
        assert problem_of(await service.tell(body, secret="another"), 401) == "bad-signature"
        assert problem_of(await service.tell(body, secret=None, content_type="text/plain"), 401) == "bad-signature"


async def test_without_a_secret_no_event_is_taken(settings_for: MakeSettings) -> None:
    async with served(settings_for(cache="none", webhook_secret="")) as service:
        assert problem_of(await service.tell(event_of(), secret=None), 503) == "webhook-not-set-up"
        assert problem_of(await service.tell(event_of(), secret="guess"), 503) == "webhook-not-set-up"
        assert await service.counts() == (0, 0)


async def test_without_a_secret_events_are_taken_where_a_setting_says_so(settings_for: MakeSettings) -> None:
    async with served(settings_for(cache="none", webhook_secret="", webhook_unsigned_allowed=True)) as service:
        assert (await service.tell(event_of(), secret=None)).status_code == 202


async def test_with_a_secret_unsigned_events_are_never_taken(settings_for: MakeSettings) -> None:
    async with served(settings_for(cache="none", webhook_unsigned_allowed=True)) as service:
        assert problem_of(await service.tell(event_of(), secret=None), 401) == "bad-signature"


async def test_while_the_secret_is_replaced_both_are_believed(settings_for: MakeSettings) -> None:
    async with served(settings_for(cache="none", webhook_secret="new", webhook_secret_previous=WEBHOOK_SECRET)) as service:
        assert (await service.tell(event_of(), secret="new")).status_code == 202
        assert (await service.tell(event_of(), secret=WEBHOOK_SECRET)).status_code == 200
        assert problem_of(await service.tell(event_of(), secret="older"), 401) == "bad-signature"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[1]", b"{}", b"\xff", b"[" * 60_000, event_of().replace(b'"record": {', b'"gone": {'), event_of(name=""),
        event_of(metadata={"size": -5}),
    ],
    ids=["empty", "broken", "null", "list", "nothing", "no text", "deep", "no record", "no name", "size below 0"],
)  # fmt: skip
async def test_a_malformed_event_is_a_problem_and_leaves_nothing(service: Served, body: bytes) -> None:
    assert problem_of(await service.tell(body), 422) == "malformed-event"
    assert await service.counts() == (0, 0)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.c3d", "/etc/passwd.c3d", "P001/../../x.c3d", "P001//x.c3d", "..\\x.c3d", "P001/x\x00.c3d", "./x.c3d"]
)
async def test_path_tricks_are_problems_and_leave_nothing(service: Served, name: str) -> None:
    response = await service.tell(event_of(name))
    assert problem_of(response, 422) == "malformed-event"
    assert "passwd" not in response.text
    assert await service.counts() == (0, 0)


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", ""])
async def test_another_content_type_is_refused(service: Served, media_type: str) -> None:
    assert problem_of(await service.tell(event_of(), content_type=media_type), 415) == "wrong-content-type"


async def test_parameters_of_the_content_type_do_not_matter(service: Served) -> None:
    assert (await service.tell(event_of(), content_type="Application/JSON; charset=utf-8")).status_code == 202


async def test_a_body_that_is_too_large_is_refused(service: Served) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 10_000

    assert problem_of(await service.tell(b"x" * 70_000), 413) == "body-too-large"
    assert problem_of(await service.client.post(WEBHOOK, content=endless()), 413) == "body-too-large"


async def test_a_body_that_does_not_come_is_given_up(settings_for: MakeSettings) -> None:
    async with served(settings_for(cache="none", body_idle_s_max=0.2)) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(f"POST {WEBHOOK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{".encode())
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"body-too-slow" in answer


async def test_while_the_database_is_away_the_storage_is_told_to_try_again(settings_for: MakeSettings, closed_port: int) -> None:
    async with served(settings_for(cache="none", database_url=f"postgresql://u:p@127.0.0.1:{closed_port}/d")) as service:
        response = await service.tell(event_of())
        assert problem_of(response, 503) == "storage-unavailable"
        assert response.headers["retry-after"]


async def test_other_methods_are_refused(service: Served) -> None:
    assert problem_of(await service.client.get(WEBHOOK), 405)


async def test_what_is_no_http_does_not_harm(service: Served) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as raw:
        raw.sendall(b"\x16\x03\x01 this is no request\r\n\r\n")
    assert (await service.tell(event_of())).status_code == 202
