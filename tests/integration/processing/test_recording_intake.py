"""Recordings arrive: whole or not at all, each once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from domain.errors import InvalidRecording, StorageUnavailable
from domain.mvc import GivenMvc
from domain.ports import Submitted
from domain.session import SessionId, SessionState, TherapySession, session_id_of, session_id_of_object
from services.recording_intake import RecordingIntake, base_name
from tests.integration.processing.conftest import House
from tests.patience import eventually
from tests.recordings import in_chunks
from tests.strategies import some_session

MANY = 1000


def digest_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def key_of(body: bytes) -> str:
    return f"uploads/{digest_of(body)}.c3d"


# Uploads


async def test_an_upload_is_stored_registered_and_queued(house: House, recording: bytes) -> None:
    received = await house.intake.receive(in_chunks(recording), file_name="Größe 1.c3d", patient_code="P-1")
    session = received.session
    assert received.new
    assert session == TherapySession(
        session_id=session_id_of(digest_of(recording)),
        file_name="Größe 1.c3d",
        recording_sha256=digest_of(recording),
        size_bytes=len(recording),
        recorded_at=None,
        registered_at=session.registered_at,
        patient_code="P-1",
        recording_key=key_of(recording),
        state=SessionState.RECEIVED,
    )
    assert await house.registry.find(session.session_id) == session
    assert house.store.left() == {key_of(recording)}
    assert await house.queue.depth() == 1


async def test_the_same_bytes_are_the_known_session_whatever_they_are_called(house: House, recording: bytes) -> None:
    first = await house.intake.receive(in_chunks(recording), file_name="a.c3d", patient_code="P-1")
    again = await house.intake.receive(in_chunks(recording, 1000), file_name="b.c3d", patient_code="P-2")
    assert again == replace(first, new=False)
    assert house.store.left() == {key_of(recording)}
    assert await house.queue.depth() == 1


async def test_the_same_bytes_at_the_same_time_are_one_session(house: House, recording: bytes) -> None:
    uploads = (house.intake.receive(in_chunks(recording), file_name=f"{number}.c3d", patient_code=None) for number in range(6))
    answers = await asyncio.gather(*uploads)
    assert sum(answer.new for answer in answers) == 1
    assert len({answer.session for answer in answers}) == 1
    assert house.store.left() == {key_of(recording)}
    assert await house.queue.depth() == 1


@pytest.mark.parametrize("beginning", [b"\x02\x51", b"PK", b"\x50\x02", b"<html>"], ids=repr)
@pytest.mark.parametrize("size", [1, 2, 1 << 16])
async def test_what_is_no_c3d_is_refused_before_it_has_arrived(house: House, beginning: bytes, size: int) -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        async for chunk in in_chunks(beginning + bytes(MANY * size), size):
            asked += 1
            yield chunk

    with pytest.raises(InvalidRecording, match=r"^notes\.txt: .*0x50"):
        await house.intake.receive(endless(), file_name="notes.txt", patient_code=None)
    assert asked <= 2
    assert house.store.left() == set()
    assert await house.queue.depth() == 0


@pytest.mark.parametrize("body", [b"", b"\x02"], ids=repr)
async def test_what_is_too_short_to_tell_is_refused(house: House, body: bytes) -> None:
    with pytest.raises(InvalidRecording):
        await house.intake.receive(in_chunks(body), file_name="a.c3d", patient_code=None)
    assert house.store.left() == set()


async def test_an_upload_that_is_cancelled_leaves_nothing(house: House, recording: bytes) -> None:
    arrived = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield recording[:1000]
        arrived.set()
        await asyncio.Event().wait()

    uploading = asyncio.create_task(house.intake.receive(stalling(), file_name="a.c3d", patient_code=None))
    await arrived.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert house.store.left() == set()
    assert await house.registry.find_by_recording(digest_of(recording)) is None


async def test_an_upload_that_breaks_off_leaves_nothing(house: House, recording: bytes) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield recording[:1000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await house.intake.receive(broken(), file_name="a.c3d", patient_code=None)
    assert house.store.left() == set()


class Unreliable:
    """A queue that fails before or after it has submitted."""

    def __init__(self, house: House, *, commits: bool) -> None:
        self._queue = house.queue
        self._commits = commits

    async def submit(self, session: TherapySession) -> Submitted:
        if self._commits:
            await self._queue.submit(session)
        raise StorageUnavailable("the connection broke")

    async def remeasure(self, session_id: SessionId, mvc: GivenMvc) -> TherapySession | None:
        return await self._queue.remeasure(session_id, mvc)

    async def depth(self) -> int:
        return await self._queue.depth()


async def test_an_upload_that_cannot_be_queued_leaves_nothing(house: House, recording: bytes) -> None:
    intake = RecordingIntake(store=house.store, registry=house.registry, queue=Unreliable(house, commits=False))
    with pytest.raises(StorageUnavailable):
        await intake.receive(in_chunks(recording), file_name="a.c3d", patient_code=None)
    assert house.store.left() == set()
    assert await house.registry.find_by_recording(digest_of(recording)) is None


async def test_an_upload_whose_queueing_was_committed_before_the_answer_was_lost_stays(house: House, recording: bytes) -> None:
    intake = RecordingIntake(store=house.store, registry=house.registry, queue=Unreliable(house, commits=True))
    with pytest.raises(StorageUnavailable):
        await intake.receive(in_chunks(recording), file_name="a.c3d", patient_code=None)
    assert house.store.left() == {key_of(recording)}
    again = await house.intake.receive(in_chunks(recording), file_name="a.c3d", patient_code=None)
    assert (again.new, again.session.state) == (False, SessionState.RECEIVED)
    assert await house.queue.depth() == 1


async def test_an_upload_of_what_was_processed_from_a_file_is_kept_and_not_processed_again(house: House, recording: bytes) -> None:
    session = some_session(recording_sha256=digest_of(recording), recording_key=None, state=SessionState.COMPLETED)
    await house.registry.register(session)
    received = await house.intake.receive(in_chunks(recording), file_name="a.c3d", patient_code=None)
    assert not received.new
    assert received.session == replace(session, recording_key=key_of(recording))
    assert house.store.left() == {key_of(recording)}
    assert await house.queue.depth() == 0


async def test_an_upload_of_what_came_by_a_bucket_is_that_session(house: House, recording: bytes) -> None:
    session = some_session(recording_sha256=digest_of(recording), recording_key="bucket/a.c3d", state=SessionState.COMPLETED)
    await house.registry.register(session)
    received = await house.intake.receive(in_chunks(recording), file_name="a.c3d", patient_code=None)
    assert (received.session, received.new) == (session, False)
    assert house.store.left() == set()


async def test_an_upload_of_what_failed_is_processed_again(house: House, recording: bytes) -> None:
    first = await house.intake.receive(in_chunks(recording), file_name="a.c3d", patient_code=None)
    await house.registry.note(first.session.session_id, SessionState.FAILED, failure="its file was lost")
    await house.store.delete(key_of(recording))
    again = await house.intake.receive(in_chunks(recording), file_name="a.c3d", patient_code=None)
    assert again == replace(first, new=False)
    assert house.store.left() == {key_of(recording)}
    assert await house.registry.find(first.session.session_id) == first.session


# Announcements


async def announced(house: House, revision: str = "1") -> TherapySession:
    return (await house.intake.announce(bucket="c3d", name="P-1/a.c3d", revision=revision, size_bytes=5, patient_code="P-1")).session


async def test_an_announced_object_is_registered_and_queued_unseen(house: House) -> None:
    session = await announced(house)
    assert session == TherapySession(
        session_id=session_id_of_object("c3d", "P-1/a.c3d", "1"),
        file_name="a.c3d",
        recording_sha256=None,
        size_bytes=5,
        recorded_at=None,
        registered_at=session.registered_at,
        patient_code="P-1",
        recording_key="c3d/P-1/a.c3d",
        state=SessionState.RECEIVED,
    )
    assert await house.registry.find(session.session_id) == session
    assert await house.queue.depth() == 1


async def test_an_object_that_is_announced_again_is_the_same_session(house: House) -> None:
    session = await announced(house)
    again = await house.intake.announce(bucket="c3d", name="P-1/a.c3d", revision="1", size_bytes=5, patient_code="P-1")
    assert (again.session, again.new) == (session, False)
    assert (await announced(house, "2")).session_id != session.session_id
    assert await house.queue.depth() == 2


async def test_an_object_that_failed_and_is_announced_again_is_processed_again(house: House) -> None:
    session = await announced(house)
    await house.registry.note(session.session_id, SessionState.FAILED, failure="because")
    assert await announced(house) == session
    assert await house.queue.depth() == 2  # The first job is still there; the second finds nothing left to do.


# Names


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.c3d", "a.c3d"),
        ("../../etc/passwd", "passwd"),
        ("C:\\recordings\\a.c3d", "a.c3d"),
        ("folder/a.c3d/", "a.c3d"),
        ("a\0b\n\x1b[31m.c3d", "ab[31m.c3d"),
        ("", "recording.c3d"),
        ("..", "recording.c3d"),
        ("\ud800", "recording.c3d"),
        ("ü" * 300 + ".c3d", "ü" * 98 + ".c3d"),
    ],
)
def test_a_name_is_its_last_part_as_it_can_be_shown(name: str, shown: str) -> None:
    assert base_name(name) == shown


async def test_a_cancelled_intake_waits_for_its_own_tidying(house: House, recording: bytes) -> None:
    """Cancelled at each of its waits in turn, it leaves a session with its recording, or neither."""
    for turns in range(0, 60, 3):
        body = recording + bytes([turns])
        uploading = asyncio.create_task(house.intake.receive(in_chunks(body), file_name="a.c3d", patient_code=None))
        for _ in range(turns):
            await asyncio.sleep(0)
        uploading.cancel()
        await asyncio.gather(uploading, return_exceptions=True)

        async def consistent(body: bytes = body) -> tuple[bool, bool]:
            registered = await house.registry.find_by_recording(digest_of(body))
            return registered is not None, key_of(body) in house.store.left()

        await eventually(consistent, lambda answer: answer[0] == answer[1])
    assert not {key for key in house.store.left() if not key.startswith("uploads/")}
