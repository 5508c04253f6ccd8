"""Sessions are processed from the store: once, whatever is told again, and never after they were erased."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from domain.errors import InvalidRecording, OtherPatient, RecordingNotFound, StorageUnavailable
from domain.mvc import GivenMvc
from domain.ports import Freshness, SaveReceipt
from domain.session import SessionId, SessionState, TherapySession, session_id_of
from tests.integration.processing.conftest import House
from tests.recordings import in_chunks

NAME = "Ghostly_Emg_20250310_11-50-16-0578.c3d"


async def announced(house: House, body: bytes, name: str = NAME) -> TherapySession:
    await house.store.keep(f"c3d/{name}", body)
    return (await house.intake.announce(bucket="c3d", name=name, revision="1", size_bytes=len(body))).session


async def version_of(house: House, session_id: SessionId) -> int | None:
    answer = await house.repository.get(session_id, freshness=Freshness.FRESH)
    return None if answer is None else answer.version


async def test_an_announced_recording_becomes_analytics_of_its_own_session(house: House, recording: bytes) -> None:
    session = await announced(house, recording)
    await house.processor.process_session(session.session_id)
    answer = await house.repository.get(session.session_id)
    assert answer is not None
    facts = answer.analytics.recording
    assert answer.analytics.session_id == session.session_id != session_id_of(facts.sha256)
    assert (facts.file_name, facts.sha256) == (NAME, hashlib.sha256(recording).hexdigest())
    known = await house.session(session.session_id)
    assert (known.state, known.progress, known.failure) == (SessionState.COMPLETED, 1.0, None)
    assert (known.recording_sha256, known.size_bytes) == (facts.sha256, len(recording))
    assert known.recorded_at == datetime(2025, 3, 10, 11, 50, 16, 578_000)  # noqa: DTZ001 - recordings name no time zone


async def test_an_upload_is_analysed_under_the_name_it_came_with(house: House, recording: bytes) -> None:
    received = await house.intake.receive(in_chunks(recording), file_name=NAME, patient_code=None)
    await house.processor.process_session(received.session.session_id)
    answer = await house.repository.get(received.session.session_id)
    assert answer is not None
    assert answer.analytics.recording.file_name == NAME
    assert house.workers.file_names == [NAME]


async def test_a_session_that_is_processed_again_is_analysed_once(house: House, recording: bytes) -> None:
    session = await announced(house, recording)
    for _ in range(3):
        await house.processor.process_session(session.session_id)
    assert len(house.workers.file_names) == 1
    assert await version_of(house, session.session_id) == 1


async def test_a_worker_that_died_after_saving_is_followed_by_one_that_only_notes_it(house: House, recording: bytes) -> None:
    session = await announced(house, recording)
    await house.processor.process_session(session.session_id)
    await house.registry.note(session.session_id, SessionState.RECEIVED)
    await house.registry.note(session.session_id, SessionState.PROCESSING, progress=0.9)
    await house.processor.process_session(session.session_id)
    assert (await house.session(session.session_id)).state is SessionState.COMPLETED
    assert len(house.workers.file_names) == 1
    assert await version_of(house, session.session_id) == 1


async def test_progress_is_noted_stage_by_stage(house: House, recording: bytes) -> None:
    session = await announced(house, recording)
    seen: list[tuple[SessionState, float]] = []

    async def look() -> None:
        now = await house.session(session.session_id)
        seen.append((now.state, now.progress))

    await look()
    house.workers.before = look
    await house.processor.process_session(session.session_id)
    await look()
    assert [state for state, _ in seen] == [SessionState.RECEIVED, SessionState.PROCESSING, SessionState.COMPLETED]
    assert [progress for _, progress in seen] == [0.0, 0.3, 1.0]


# Duplicates


async def test_the_same_bytes_under_two_names_are_analysed_once(house: House, recording: bytes) -> None:
    first, second = await announced(house, recording, "a.c3d"), await announced(house, recording, "b.c3d")
    await asyncio.gather(*(house.processor.process_session(session.session_id) for session in (first, second)))
    known = [await house.session(session.session_id) for session in (first, second)]
    assert {session.state for session in known} == {SessionState.COMPLETED, SessionState.DUPLICATE}
    [original] = [session for session in known if session.state is SessionState.COMPLETED]
    [duplicate] = [session for session in known if session.state is SessionState.DUPLICATE]
    assert duplicate.same_as == original.session_id
    assert await version_of(house, original.session_id) == 1
    assert await version_of(house, duplicate.session_id) is None
    assert len(house.workers.file_names) == 1


async def test_a_file_whose_bytes_came_by_a_bucket_is_that_session(house: House, recording: bytes, tmp_path: Path) -> None:
    session = await announced(house, recording)
    await house.processor.process_session(session.session_id)
    path = tmp_path / "local copy.c3d"
    path.write_bytes(recording)
    processed = await house.processor.process(path)
    assert (processed.session_id, processed.new, processed.version) == (session.session_id, False, 1)
    assert await house.registry.find(session_id_of(hashlib.sha256(recording).hexdigest())) is None


async def test_an_object_whose_bytes_were_processed_from_a_file_is_its_duplicate(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "local copy.c3d"
    path.write_bytes(recording)
    processed = await house.processor.process(path)
    session = await announced(house, recording)
    await house.processor.process_session(session.session_id)
    assert (await house.session(session.session_id)).same_as == processed.session_id
    assert (await house.session(processed.session_id)).state is SessionState.COMPLETED


async def test_a_file_that_arrives_by_a_bucket_while_it_is_analysed_is_one_session(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "local copy.c3d"
    path.write_bytes(recording)
    session = await announced(house, recording)

    async def processed_meanwhile() -> None:
        house.workers.before = lambda: None
        await house.processor.process_session(session.session_id)

    house.workers.before = processed_meanwhile
    processed = await house.processor.process(path)
    assert processed.session_id == session.session_id
    assert await version_of(house, session.session_id) == 1
    assert await version_of(house, session_id_of(hashlib.sha256(recording).hexdigest())) is None


# Patients


async def test_a_file_is_processed_for_a_patient_who_then_stays(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(recording)
    session_id = (await house.processor.process(path, patient_code="P1")).session_id
    for code in ("P1", None):
        await house.processor.process(path, patient_code=code)
    with pytest.raises(OtherPatient, match=r"^a\.c3d: its session has another patient"):
        await house.processor.process(path, patient_code="P2", mvc=GivenMvc(0.5))
    known = await house.session(session_id)
    assert (known.patient_code, known.mvc, known.state) == ("P1", None, SessionState.COMPLETED)
    assert len(house.workers.file_names) == 1


async def test_a_file_that_was_processed_without_a_patient_gets_one(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(recording)
    session_id = (await house.processor.process(path)).session_id
    again = await house.processor.process(path, patient_code="P1")
    assert (again.session_id, again.new, again.version) == (session_id, False, 1)
    assert (await house.session(session_id)).patient_code == "P1"


async def test_a_file_that_is_uploaded_for_another_patient_while_it_is_analysed_is_that_ones(
    house: House, recording: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(recording)

    async def uploaded_meanwhile() -> None:
        await house.intake.receive(in_chunks(recording), file_name="a.c3d", patient_code="P2")

    house.workers.after = uploaded_meanwhile
    with pytest.raises(OtherPatient):
        await house.processor.process(path, patient_code="P1")
    assert (await house.session(session_id_of(hashlib.sha256(recording).hexdigest()))).patient_code == "P2"


async def test_an_object_that_is_announced_again_with_a_patient_gets_that_one(house: House, recording: bytes) -> None:
    session = await announced(house, recording)
    for code, kept in (("P1", "P1"), ("P1", "P1"), ("P2", "P1"), (None, "P1")):
        again = await house.intake.announce(bucket="c3d", name=NAME, revision="1", size_bytes=len(recording), patient_code=code)
        assert (again.new, again.session) == (False, replace(session, patient_code=kept))
        assert await house.session(session.session_id) == again.session
    assert await house.queue.depth() == 1


async def test_the_patient_of_a_duplicate_is_that_of_its_bytes(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "local copy.c3d"
    path.write_bytes(recording)
    original_id = (await house.processor.process(path)).session_id
    for name, code in (("a.c3d", "P1"), ("b.c3d", "P2")):
        await house.store.keep(f"c3d/{name}", recording)
        received = await house.intake.announce(bucket="c3d", name=name, revision="1", size_bytes=None, patient_code=code)
        await house.processor.process_session(received.session.session_id)
        assert (await house.session(received.session.session_id)).same_as == original_id
        assert (await house.session(original_id)).patient_code == "P1"


async def test_a_worker_that_died_before_it_handed_a_patient_on_is_followed_by_one_that_does(
    house: House, recording: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "local copy.c3d"
    path.write_bytes(recording)
    original_id = (await house.processor.process(path)).session_id
    await house.store.keep("c3d/a.c3d", recording)
    received = await house.intake.announce(bucket="c3d", name="a.c3d", revision="1", size_bytes=None, patient_code="P1")
    await house.registry.identify(received.session.session_id, hashlib.sha256(recording).hexdigest(), len(recording))
    await house.processor.process_session(received.session.session_id)
    assert (await house.session(original_id)).patient_code == "P1"


async def test_a_duplicate_that_is_announced_with_a_patient_later_hands_it_on(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "local copy.c3d"
    path.write_bytes(recording)
    original_id = (await house.processor.process(path)).session_id
    duplicate = await announced(house, recording)
    await house.processor.process_session(duplicate.session_id)
    await house.intake.announce(bucket="c3d", name=NAME, revision="1", size_bytes=len(recording), patient_code="P1")
    assert [(await house.session(each)).patient_code for each in (original_id, duplicate.session_id)] == ["P1", "P1"]


# Failures


async def test_a_recording_that_is_wrong_is_said_by_its_name(house: House) -> None:
    session = await announced(house, b"\x02\x50" + bytes(1000), "broken.c3d")
    with pytest.raises(InvalidRecording, match=r"^broken\.c3d: "):
        await house.processor.process_session(session.session_id)
    await house.processor.give_up(session.session_id, "broken.c3d: because")
    known = await house.session(session.session_id)
    assert (known.state, known.failure) == (SessionState.FAILED, "broken.c3d: because")


async def test_an_object_that_is_not_there_is_said(house: House) -> None:
    received = await house.intake.announce(bucket="c3d", name="gone.c3d", revision="1", size_bytes=None)
    with pytest.raises(RecordingNotFound):
        await house.processor.process_session(received.session.session_id)


async def test_a_failure_leaves_no_analytics_and_can_be_tried_again(house: House, recording: bytes) -> None:
    session = await announced(house, recording)

    def fail() -> None:
        raise StorageUnavailable("the database is gone")

    house.workers.after = fail
    with pytest.raises(StorageUnavailable):
        await house.processor.process_session(session.session_id)
    assert await version_of(house, session.session_id) is None
    house.workers.after = lambda: None
    await house.processor.process_session(session.session_id)
    assert await version_of(house, session.session_id) == 1


# Erasure


async def nothing_is_left(house: House, session_id: SessionId) -> None:
    assert await house.registry.find(session_id) is None
    assert await version_of(house, session_id) is None
    assert house.store.left() == set()


async def test_an_erased_session_is_gone_everywhere(house: House, recording: bytes) -> None:
    session = await announced(house, recording)
    await house.processor.process_session(session.session_id)
    assert await house.erasure.erase(session.session_id)
    await nothing_is_left(house, session.session_id)
    assert not await house.erasure.erase(session.session_id)


async def test_the_duplicates_of_an_erased_session_have_its_bytes_and_go_with_it(house: House, recording: bytes) -> None:
    sessions = [await announced(house, recording, name) for name in ("a.c3d", "b.c3d", "c.c3d")]
    for session in sessions:
        await house.processor.process_session(session.session_id)
    assert await house.erasure.erase(sessions[0].session_id)
    for session in sessions:
        await nothing_is_left(house, session.session_id)


async def test_a_session_that_is_erased_before_its_turn_is_not_processed(house: House, recording: bytes) -> None:
    session = await announced(house, recording)
    await house.erasure.erase(session.session_id)
    await house.processor.process_session(session.session_id)
    assert house.workers.file_names == []
    await nothing_is_left(house, session.session_id)


@pytest.mark.parametrize("when", ["before the analysis", "after the analysis"])
async def test_a_session_that_is_erased_while_it_is_analysed_stays_erased(house: House, recording: bytes, when: str) -> None:
    session = await announced(house, recording)

    async def erase() -> None:
        assert await house.erasure.erase(session.session_id)

    setattr(house.workers, when.split(maxsplit=1)[0], erase)
    await house.processor.process_session(session.session_id)
    await nothing_is_left(house, session.session_id)


async def with_erasure_after_saving(house: House, then: Callable[[], Awaitable[object]]) -> None:
    save = house.repository.save

    async def save_and_then(analytics: object) -> SaveReceipt:
        receipt = await save(analytics)  # type: ignore[arg-type]
        await then()
        return receipt

    house.repository.save = save_and_then  # type: ignore[method-assign]


async def test_a_session_that_is_erased_between_saving_and_noting_stays_erased(house: House, recording: bytes) -> None:
    session = await announced(house, recording)
    await with_erasure_after_saving(house, lambda: house.erasure.erase(session.session_id))
    await house.processor.process_session(session.session_id)
    await nothing_is_left(house, session.session_id)


async def test_a_worker_that_died_after_saving_an_erased_session_is_followed_by_one_that_takes_it_back(
    house: House, recording: bytes
) -> None:
    """The erasure comes between the last look into the registry and the save, and the worker dies right after the save."""
    session = await announced(house, recording)
    save = house.repository.save

    async def erased_saved_died(analytics: object) -> SaveReceipt:
        await house.erasure.erase(session.session_id)
        await save(analytics)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    house.repository.save = erased_saved_died  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await house.processor.process_session(session.session_id)
    assert await version_of(house, session.session_id) is not None
    await house.processor.process_session(session.session_id)
    await nothing_is_left(house, session.session_id)


@pytest.mark.parametrize("part", ["store", "registry", "repository"])
async def test_an_erasure_that_was_interrupted_is_completed_by_erasing_again(
    house: House, recording: bytes, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await announced(house, recording)
    await house.processor.process_session(session.session_id)

    async def fail(_: object) -> None:
        raise StorageUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(getattr(house, part), "forget" if part == "registry" else "delete", fail)
        with pytest.raises(StorageUnavailable):
            await house.erasure.erase(session.session_id)
    assert await house.erasure.erase(session.session_id)
    await nothing_is_left(house, session.session_id)
