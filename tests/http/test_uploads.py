"""Direct uploads on real servers and a real folder: what is stored, what is refused, and that nothing is left of the rest."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.c3d.synthesis import synthesise
from adapters.entrypoints.worker import run_worker
from container import resolve
from tests.http.conftest import MakeSettings
from tests.http.serving import RECORDINGS, Served, bearer, problem_of, served, token
from tests.patience import eventually

BOUNDARY = "a-boundary"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A recording of 2 s."""
    path = tmp_path_factory.mktemp("recordings") / "a.c3d"
    synthesise(path, seed=1, duration_s=2.0)
    return path.read_bytes()


def part(name: str, content: bytes, file_name: str | None = None) -> bytes:
    """One part of a form."""
    named = "" if file_name is None else f'; filename="{file_name}"'
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def files_below(folder: Path) -> set[Path]:
    """Every file, whole or not."""
    return {path for path in folder.rglob("*") if path.is_file()}


async def nothing_is_left(service: Served, folder: Path) -> None:
    """No session, no job, no assignment, no file, not even a part of one."""

    async def left() -> tuple[Any, ...]:
        return (*await service.counts(), len(await service.rows("SELECT 1 FROM patient_assignment")), files_below(folder))

    await eventually(left, lambda found: found == (0, 0, 0, set()))


async def test_an_upload_is_stored_and_queued(service: Served, recording: bytes) -> None:
    response = await service.upload(recording, patient="P042", name="Ghostly.c3d")
    assert response.status_code == 202
    taken = response.json()
    assert (taken["status"], taken["state"]) == ("received", "received")
    assert response.headers["location"] == taken["session_url"]
    session = (await service.client.get(taken["session_url"], headers=bearer("admin"))).json()
    assert (session["file_name"], session["patient_code"], session["size_bytes"]) == ("Ghostly.c3d", "P042", len(recording))
    assert session["recording_sha256"] == hashlib.sha256(recording).hexdigest()
    assert await service.counts() == (1, 1)
    ((key,),) = await service.rows("SELECT recording_key FROM therapy_session")
    store = await resolve(service.app.recording_store)
    async with store.fetched(key) as path:
        assert path.read_bytes() == recording


async def test_the_same_bytes_are_the_same_session(service: Served, recording: bytes) -> None:
    first = await service.upload(recording)
    again = await service.upload(recording, name="another name.c3d")
    assert again.status_code == 200
    assert (again.json()["status"], again.json()["session_id"]) == ("known", first.json()["session_id"])
    assert await service.counts() == (1, 1)


async def test_ten_uploads_of_the_same_bytes_at_once_are_one_session(service: Served, recording: bytes) -> None:
    responses = await asyncio.gather(*(service.upload(recording) for _ in range(10)))
    assert {response.status_code for response in responses} <= {200, 202}
    assert len({response.json()["session_id"] for response in responses}) == 1
    assert await service.counts() == (1, 1)


@pytest.mark.parametrize("content", [b"", b"P", b"not a C3D file at all", b"\x50" * 3, b"PK\x03\x04" + b"\x00" * 600_000])
async def test_what_is_no_recording_is_refused_and_leaves_nothing(service: Served, tmp_path: Path, content: bytes) -> None:
    response = await service.upload(content, patient="P042")
    if content[1:2] == b"\x50":  # Only a worker can tell that this is none; it looks like one so far.
        assert response.status_code == 202
        return
    assert problem_of(response, 422) == "invalid-recording"
    await nothing_is_left(service, tmp_path / "recordings")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.c3d", "..\\..\\boot.c3d", "/etc/x.c3d", "a/b/c.c3d", "..", "ü ñ 語.c3d", "x" * 300 + ".c3d", "a\u202eb.c3d"]
)
async def test_a_files_name_leads_nowhere(service: Served, recording: bytes, tmp_path: Path, name: str) -> None:
    response = await service.upload(recording, name=name)
    assert response.status_code == 202
    ((shown, key),) = await service.rows("SELECT file_name, recording_key FROM therapy_session")
    assert "/" not in shown
    assert "\\" not in shown
    assert shown.isprintable()
    assert len(shown) <= 200
    assert ".." not in key.split("/")
    assert files_below(tmp_path) == files_below(tmp_path / "recordings")


async def test_a_recording_that_is_too_large_is_refused_and_leaves_nothing(
    settings_for: MakeSettings, recording: bytes, tmp_path: Path
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield part("file", recording[:10_000], "a.c3d")[:-2]
        for _ in range(100):
            yield b"0" * 10_000

    async with served(settings_for(cache="none", recording_megabytes_max=0.02)) as service:
        headers = FORM | bearer("admin")
        too_large = await service.upload(recording[:50_000], patient="P1")
        assert problem_of(too_large, 413) == "recording-too-large"
        assert too_large.json()["detail"] == "a recording may have 0.02 MB at most (RECORDING_MEGABYTES_MAX)"
        much_too_large = await service.upload(recording + b"0" * 200_000)
        assert problem_of(much_too_large, 413) == "body-too-large"
        assert much_too_large.json()["detail"] == too_large.json()["detail"]
        assert problem_of(await service.client.post(RECORDINGS, content=endless(), headers=headers), 413)
        await nothing_is_left(service, tmp_path / "recordings")


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "application/json", "multipart/form-data", "multipart/form-data; boundary=", ""]
)
async def test_another_content_type_is_refused(service: Served, recording: bytes, content_type: str) -> None:
    response = await service.client.post(RECORDINGS, content=recording, headers=bearer("admin") | {"content-type": content_type})
    assert problem_of(response, 415) == "wrong-content-type"


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no form": lambda recording: recording,
    "no parts": lambda _: END,
    "no file": lambda _: part("patient", b"P042") + END,
    "a field for a file": lambda recording: part("file", recording) + END,
    "an unknown field": lambda recording: part("secret", b"1") + part("file", recording, "a.c3d") + END,
    "two files": lambda recording: part("file", recording, "a.c3d") + part("file", recording, "b.c3d") + END,
    "two patients": lambda recording: part("patient", b"P1") + part("patient", b"P2") + part("file", recording, "a.c3d") + END,
    "the patient too late": lambda recording: part("file", recording, "a.c3d") + part("patient", b"P042") + END,
    "a patient that is none": lambda recording: part("patient", b"../P042") + part("file", recording, "a.c3d") + END,
    "a patient of bytes": lambda recording: part("patient", b"\xff\xfe") + part("file", recording, "a.c3d") + END,
    "a long patient": lambda recording: part("patient", b"P" * 1000) + part("file", recording, "a.c3d") + END,
    "two texts of MVC values": lambda recording: part("mvc", b"1") + part("mvc", b"1") + part("file", recording, "a.c3d") + END,
    "MVC values too late": lambda recording: part("file", recording, "a.c3d") + part("mvc", b"1") + END,
    "MVC values of bytes": lambda recording: part("mvc", b"\xff=1") + part("file", recording, "a.c3d") + END,
    "MVC values without an end": lambda recording: part("mvc", b"CH1=1," * 10_000) + part("file", recording, "a.c3d") + END,
    "truncated in the file": lambda recording: part("file", recording, "a.c3d")[:-3000],
    "truncated at the end": lambda recording: part("file", recording, "a.c3d"),
    "an endless head": lambda _: f"--{BOUNDARY}\r\nX: ".encode() + b"x" * 500_000,
    "something behind": lambda recording: part("file", recording, "a.c3d") + END + b"0" * 1000,
}


@pytest.mark.parametrize("form", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_form_is_refused_and_leaves_nothing(
    service: Served, recording: bytes, tmp_path: Path, form: Callable[[bytes], bytes]
) -> None:
    response = await service.client.post(RECORDINGS, content=form(recording), headers=FORM | bearer("admin"))
    assert problem_of(response, 422) == "malformed-upload"
    await nothing_is_left(service, tmp_path / "recordings")


async def send_a_part(service: Served, recording: bytes, role: str = "admin") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begins an upload, and sends half of the file."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    whole = part("patient", b"P042") + part("file", recording, "a.c3d") + END
    head = f"POST {RECORDINGS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token(role)}\r\n"
    head += f"Content-Type: {FORM['content-type']}\r\nContent-Length: {len(whole)}\r\n\r\n"
    writer.write(head.encode() + whole[: len(whole) // 2])
    await writer.drain()
    return reader, writer


async def something_arrived(folder: Path) -> None:
    """Waits until the store has begun to write."""

    async def files() -> set[Path]:
        return files_below(folder)

    await eventually(files, bool)


async def test_a_client_that_goes_away_leaves_nothing(service: Served, recording: bytes, tmp_path: Path) -> None:
    _, writer = await send_a_part(service, recording * 10, "therapist")
    await something_arrived(tmp_path / "recordings")
    writer.transport.abort()
    await nothing_is_left(service, tmp_path / "recordings")
    assert (await service.upload(recording)).status_code == 202


async def test_a_client_that_stops_sending_is_given_up_and_leaves_nothing(
    settings_for: MakeSettings, recording: bytes, tmp_path: Path
) -> None:
    async with served(settings_for(cache="none", body_idle_s_max=0.3)) as service:
        reader, writer = await send_a_part(service, recording)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"body-too-slow" in answer
        await nothing_is_left(service, tmp_path / "recordings")


async def test_a_storage_that_is_away_leaves_nothing(
    settings_for: MakeSettings, recording: bytes, tmp_path: Path, closed_port: int
) -> None:
    async with served(settings_for(cache="none", database_url=f"postgresql://u:p@127.0.0.1:{closed_port}/d")) as service:
        assert problem_of(await service.upload(recording), 503) == "storage-unavailable"
    assert files_below(tmp_path / "recordings") == set()


# Maximum voluntary contractions.

GIVEN = "CH1=0.0003,CH2=0.00041"


async def test_mvc_values_are_kept_with_the_session(service: Served, recording: bytes) -> None:
    taken = (await service.upload(recording, mvc=f" {GIVEN}, 0.0005")).json()
    session = (await service.client.get(taken["session_url"], headers=bearer("admin"))).json()
    assert session["mvc"] == {"every_channel": 0.0005, "by_channel": {"CH1": 0.0003, "CH2": 0.00041}}
    assert await service.rows("SELECT mvc FROM therapy_session") == [(session["mvc"],)]


@pytest.mark.parametrize("mvc", [None, "", " , "])
async def test_without_mvc_values_nothing_is_kept(service: Served, recording: bytes, mvc: str | None) -> None:
    taken = (await service.upload(recording, mvc=mvc)).json()
    assert (await service.client.get(taken["session_url"], headers=bearer("admin"))).json()["mvc"] is None
    assert await service.rows("SELECT mvc FROM therapy_session WHERE mvc IS NOT NULL") == []


@pytest.mark.parametrize(
    "mvc", ["CH1", "CH1=", "CH1=much", "0", "-1", "CH1=nan", "CH1=inf", "=1", "CH1=1,CH1=2", "1,2", "CH1=1;2", "C" * 4000 + "=1"]
)
async def test_mvc_values_that_are_none_are_refused_and_leave_nothing(service: Served, recording: bytes, tmp_path: Path, mvc: str) -> None:
    response = await service.upload(recording, patient="P042", mvc=mvc)
    assert problem_of(response, 422) == "malformed-upload"
    detail = response.json()["detail"]
    assert detail.startswith("the field `mvc` must look like CH1=0.0003,CH2=0.00041: ")
    assert "much" not in detail
    await nothing_is_left(service, tmp_path / "recordings")


async def test_the_same_bytes_with_other_mvc_values_are_analysed_anew(service: Served, recording: bytes) -> None:
    first = await service.upload(recording, mvc=GIVEN)
    same = await service.upload(recording, mvc="CH2=0.00041,CH1=0.0003")
    assert (same.status_code, same.json()["status"]) == (200, "known")
    other = await service.upload(recording, mvc="0.0005")
    assert (other.status_code, other.json()["status"], other.json()["state"]) == (202, "remeasured", "received")
    assert other.json()["session_id"] == first.json()["session_id"]
    assert other.headers["location"] == first.headers["location"]
    assert await service.rows("SELECT mvc FROM therapy_session") == [({"every_channel": 0.0005, "by_channel": {}},)]
    assert await service.counts() == (1, 2)
    nothing = await service.upload(recording)
    assert (nothing.status_code, nothing.json()["status"]) == (200, "known")
    assert await service.counts() == (1, 2)


async def test_nobody_changes_the_mvc_values_of_anothers_patient(service: Served, recording: bytes) -> None:
    await service.upload(recording, patient="P042", mvc=GIVEN, role="therapist", subject="anna")
    response = await service.upload(recording, patient="P043", mvc="0.0005", role="therapist", subject="bert")
    assert problem_of(response, 409) == "recording-known"
    ((kept,),) = await service.rows("SELECT mvc FROM therapy_session")
    assert kept["by_channel"] == {"CH1": 0.0003, "CH2": 0.00041}
    assert await service.counts() == (1, 1)


async def test_an_upload_is_analysed_by_a_worker_with_its_mvc_values_and_anew_with_others(
    settings_for: MakeSettings, tmp_path: Path
) -> None:
    synthesise(tmp_path / "a.c3d", seed=3, duration_s=12.0)
    content = (tmp_path / "a.c3d").read_bytes()
    async with served(settings_for(mvc_session=0.9, worker_concurrency=1)) as service:
        stop = asyncio.Event()
        working = asyncio.create_task(run_worker(service.app, stop))
        try:
            for mvc, values in (("CH1=0.0003", [0.0003, 0.9]), ("0.0005,CH2=0.0004", [0.0005, 0.0004])):
                taken = (await service.upload(content, mvc=mvc)).json()

                async def session(url: str = taken["session_url"]) -> Any:
                    return (await service.client.get(url, headers=bearer("admin"))).json()

                shown = await eventually(session, lambda found: found["state"] in ("completed", "failed"), within_s=60)
                assert shown["state"] == "completed", shown["failure"]
                fresh = bearer("admin") | {"cache-control": "no-cache"}
                document = (await service.client.get(shown["analytics_url"], headers=fresh)).json()
                assert [channel["mvc"]["value"] for channel in document["channels"]] == values
        finally:
            stop.set()
            await asyncio.wait_for(working, 60)


# Who may.


async def test_without_a_token_nothing_is_taken(service: Served, recording: bytes) -> None:
    assert problem_of(await service.client.post(RECORDINGS, files={"file": ("a.c3d", recording)}), 401) == "unauthenticated"


async def test_researchers_do_not_upload(service: Served, recording: bytes, tmp_path: Path) -> None:
    assert problem_of(await service.upload(recording, role="researcher"), 403) == "forbidden"
    await nothing_is_left(service, tmp_path / "recordings")


async def test_a_therapist_uploads_for_new_patients_who_become_theirs(service: Served, recording: bytes) -> None:
    response = await service.upload(recording, patient="P042", role="therapist", subject="anna")
    assert response.status_code == 202
    assert await service.rows("SELECT patient_code, therapist FROM patient_assignment") == [("P042", "anna")]
    seen = await service.client.get(response.json()["session_url"], headers=bearer("therapist", "anna"))
    assert seen.status_code == 200
    other = await service.client.get(response.json()["session_url"], headers=bearer("therapist", "bert"))
    assert problem_of(other, 404) == "session-not-found"


async def test_a_therapist_does_not_upload_for_patients_of_others(service: Served, recording: bytes, tmp_path: Path) -> None:
    assignments = await resolve(service.app.patient_assignments)
    await assignments.assign("P042", "anna")
    assert problem_of(await service.upload(recording, patient="P042", role="therapist", subject="bert"), 403) == "forbidden"
    assert await service.counts() == (0, 0)
    assert await service.rows("SELECT patient_code, therapist FROM patient_assignment") == [("P042", "anna")]
    assert files_below(tmp_path / "recordings") == set()


async def test_a_therapist_does_not_claim_a_patient_who_has_sessions_that_nobody_was_assigned(
    service: Served, recording: bytes, tmp_path: Path
) -> None:
    taken = (await service.upload(recording, patient="P555")).json()
    kept = files_below(tmp_path / "recordings")
    response = await service.upload(recording + b"another", patient="P555", role="therapist", subject="carl")
    assignments = await resolve(service.app.patient_assignments)
    await assignments.assign("P042", "anna")
    assert problem_of(response, 403) == "forbidden"
    assert response.json() == (await service.upload(recording, patient="P042", role="therapist", subject="carl")).json()
    carl = bearer("therapist", "carl")
    assert (await service.client.get("/api/v1/sessions", headers=carl)).json()["sessions"] == []
    assert problem_of(await service.client.delete(taken["session_url"], headers=carl), 404) == "session-not-found"
    assert await service.rows("SELECT patient_code, therapist FROM patient_assignment") == [("P042", "anna")]
    assert await service.counts() == (1, 1)
    assert files_below(tmp_path / "recordings") == kept


async def test_known_bytes_claim_no_patient(service: Served, recording: bytes) -> None:
    await service.upload(recording, patient="P555")
    response = await service.upload(recording, patient="P777", role="therapist", subject="carl")
    assert problem_of(response, 409) == "recording-known"
    assert await service.rows("SELECT patient_code, therapist FROM patient_assignment") == []
    assert await service.counts() == (1, 1)


async def test_a_patient_who_got_sessions_while_an_upload_arrived_is_not_claimed(service: Served, recording: bytes, tmp_path: Path) -> None:
    whole = part("patient", b"P555") + part("file", recording, "a.c3d") + END
    half_sent, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield whole[: len(whole) // 2]
        half_sent.set()
        await go_on.wait()
        yield whole[len(whole) // 2 :]

    headers = FORM | bearer("therapist", "carl")
    uploading = asyncio.create_task(service.client.post(RECORDINGS, content=body(), headers=headers))
    await half_sent.wait()
    await something_arrived(tmp_path / "recordings")
    assert (await service.upload(recording + b"another", patient="P555")).status_code == 202
    go_on.set()
    assert problem_of(await uploading, 403) == "forbidden"
    assert await service.rows("SELECT patient_code, therapist FROM patient_assignment") == []
    assert await service.counts() == (1, 1)
    assert len(files_below(tmp_path / "recordings")) == 1


async def test_of_two_therapists_who_upload_for_a_new_patient_at_once_one_gets_the_patient(
    service: Served, recording: bytes, tmp_path: Path
) -> None:
    names = ("anna", "bert", "carl", "dora")
    uploads = [service.upload(recording + name.encode(), patient="P042", role="therapist", subject=name) for name in names]
    answers = await asyncio.gather(*uploads)
    assert sorted(answer.status_code for answer in answers) == [202, 403, 403, 403]
    (winner,) = (name for name, answer in zip(names, answers, strict=True) if answer.status_code == 202)
    assert await service.rows("SELECT patient_code, therapist FROM patient_assignment") == [("P042", winner)]
    assert await service.counts() == (1, 1)
    assert len(files_below(tmp_path / "recordings")) == 1


async def processed_from_a_file(service: Served, recording: bytes, folder: Path) -> str:
    """The session of a recording that came without a patient, by `emg-sessions process`."""
    (folder / "processed.c3d").write_bytes(recording)
    processor = await resolve(service.app.therapy_session_processor)
    return str((await processor.process(folder / "processed.c3d")).session_id)


async def test_a_known_session_without_a_patient_gets_the_one_it_is_uploaded_with(
    settings_for: MakeSettings, recording: bytes, tmp_path: Path
) -> None:
    async with served(settings_for(cache="none")) as service:
        session_id = await processed_from_a_file(service, recording, tmp_path)
        for status in ("known", "known"):
            response = await service.upload(recording, patient="P042")
            assert (response.status_code, response.json()["status"], response.json()["session_id"]) == (200, status, session_id)
        assert await service.rows("SELECT patient_code FROM therapy_session") == [("P042",)]
        assert await service.rows("SELECT 1 FROM patient_assignment") == []


async def test_a_therapist_who_uploads_a_known_recording_without_a_patient_for_a_new_one_sees_it(
    settings_for: MakeSettings, recording: bytes, tmp_path: Path
) -> None:
    async with served(settings_for(cache="none")) as service:
        session_id = await processed_from_a_file(service, recording, tmp_path)
        url, carl = f"/api/v1/sessions/{session_id}", bearer("therapist", "carl")
        for path in (url, f"{url}/analytics"):
            assert problem_of(await service.client.get(path, headers=carl), 404) == "session-not-found"
        response = await service.upload(recording, patient="P042", role="therapist", subject="carl")
        assert (response.status_code, response.json()["session_id"]) == (200, session_id)
        for path in (url, f"{url}/analytics"):
            assert (await service.client.get(path, headers=carl)).status_code == 200
        assert await service.rows("SELECT patient_code, therapist FROM patient_assignment") == [("P042", "carl")]


async def test_a_therapist_gives_a_known_recording_no_patient_of_others(
    settings_for: MakeSettings, recording: bytes, tmp_path: Path
) -> None:
    async with served(settings_for(cache="none")) as service:
        session_id = await processed_from_a_file(service, recording, tmp_path)
        await service.upload(recording + b"another", patient="P555")
        response = await service.upload(recording, patient="P555", role="therapist", subject="carl")
        assert problem_of(response, 403) == "forbidden"
        assert await service.rows(f"SELECT patient_code FROM therapy_session WHERE session_id = '{session_id}'") == [(None,)]
        assert await service.rows("SELECT 1 FROM patient_assignment") == []


async def test_a_known_session_keeps_its_patient_and_the_answer_says_so(service: Served, recording: bytes) -> None:
    taken = (await service.upload(recording, patient="P042", mvc=GIVEN)).json()
    response = await service.upload(recording, patient="P043", mvc="0.0005")
    assert problem_of(response, 409) == "other-patient"
    assert response.headers["location"] == taken["session_url"]
    assert "P04" not in response.text
    assert await service.rows("SELECT patient_code, mvc ->> 'every_channel' FROM therapy_session") == [("P042", None)]
    assert await service.counts() == (1, 1)
    assert (await service.upload(recording)).json()["status"] == "known"


async def test_a_therapist_of_both_patients_is_told_that_the_recording_is_of_the_other(service: Served, recording: bytes) -> None:
    await service.upload(recording, patient="P042", role="therapist", subject="anna")
    response = await service.upload(recording, patient="P043", role="therapist", subject="anna")
    assert problem_of(response, 409) == "other-patient"
    assert await service.rows("SELECT patient_code FROM patient_assignment") == [("P042",)]


async def test_a_therapist_uploads_again_for_patients_of_their_own(service: Served, recording: bytes) -> None:
    for content in (recording, recording + b"another"):
        assert (await service.upload(content, patient="P042", role="therapist", subject="anna")).status_code == 202
    assert await service.counts() == (2, 2)


async def test_a_therapist_names_the_patient(service: Served, recording: bytes, tmp_path: Path) -> None:
    assert problem_of(await service.upload(recording, role="therapist"), 422) == "malformed-upload"
    await nothing_is_left(service, tmp_path / "recordings")


async def test_a_known_recording_of_anothers_patient_is_not_shown(service: Served, recording: bytes) -> None:
    await service.upload(recording, patient="P042", role="therapist", subject="anna")
    response = await service.upload(recording, patient="P043", role="therapist", subject="bert")
    assert problem_of(response, 409) == "recording-known"
    assert "location" not in response.headers
    assert await service.counts() == (1, 1)


async def test_a_failed_upload_assigns_nobody(service: Served, tmp_path: Path) -> None:
    assert problem_of(await service.upload(b"no recording", patient="P042", role="therapist"), 422) == "invalid-recording"
    await nothing_is_left(service, tmp_path / "recordings")


# How often.


@pytest.mark.parametrize("cache", ["redis", "none"])
async def test_each_caller_is_granted_so_many_uploads_a_minute(settings_for: MakeSettings, recording: bytes, cache: str) -> None:
    async with served(settings_for(cache=cache, uploads_per_minute_max=2)) as service:
        first, second, third = [await service.upload(recording) for _ in range(3)]
        assert [first.status_code, second.status_code] == [202, 200]
        assert first.headers["ratelimit-policy"] == '"uploads";q=2;w=60'
        assert first.headers["ratelimit"].startswith('"uploads";r=1;t=')
        assert second.headers["ratelimit"].startswith('"uploads";r=0;t=')
        assert problem_of(third, 429) == "too-many-uploads"
        assert 1 <= int(third.headers["retry-after"]) <= 60
        assert (await service.upload(recording, subject="somebody else")).status_code == 200


async def test_processes_share_the_limit_by_redis(settings_for: MakeSettings, recording: bytes) -> None:
    settings = settings_for(uploads_per_minute_max=2)
    async with served(settings) as one, served(settings) as other:
        assert [(await service.upload(recording)).status_code for service in (one, other)] == [202, 200]
        for service in (one, other):
            assert problem_of(await service.upload(recording), 429) == "too-many-uploads"


async def test_while_redis_is_away_each_process_limits_for_itself(settings_for: MakeSettings, recording: bytes, closed_port: int) -> None:
    settings = settings_for(uploads_per_minute_max=1, redis_url=f"redis://127.0.0.1:{closed_port}/0", redis_command_timeout_ms=200)
    async with served(settings) as one, served(settings) as other:
        assert [(await service.upload(recording)).status_code for service in (one, other)] == [202, 200]
        assert problem_of(await one.upload(recording), 429) == "too-many-uploads"
