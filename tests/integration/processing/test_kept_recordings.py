"""The recording of a session that was processed from a file is kept afterwards, as that of an upload is."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import InvalidRecording, OtherPatient, StorageUnavailable
from domain.session import SessionId, TherapySession
from services.recording_intake import RecordingIntake
from services.therapy_session_processor import Processed
from tests.integration.processing.conftest import House
from tests.integration.processing.test_recording_intake import key_of
from tests.recordings import in_chunks


async def processed(house: House, folder: Path, recording: bytes, patient_code: str | None = None) -> Processed:
    path = folder / "a file.c3d"
    path.write_bytes(recording)
    return await house.processor.process(path, patient_code=patient_code)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the file is; the store is elsewhere."""
    return tmp_path_factory.mktemp("files")


async def test_it_is_kept_once_under_the_name_of_its_bytes(house: House, folder: Path, recording: bytes) -> None:
    session_id = (await processed(house, folder, recording, "DEMO")).session_id
    assert (await house.session(session_id)).recording_key is None
    for _ in range(2):
        kept = await house.intake.keep(session_id, in_chunks(recording))
        assert kept is not None
        assert kept.recording_key == key_of(recording)
    assert await house.session(session_id) == kept
    assert kept.patient_code == "DEMO"
    assert house.store.left() == {key_of(recording)}
    again = await house.intake.receive(in_chunks(recording), file_name="b.c3d", patient_code="P-2")
    assert again.session == kept
    assert not again.new


async def test_a_patient_that_is_known_stays(house: House, folder: Path, recording: bytes) -> None:
    received = await house.intake.receive(in_chunks(recording), file_name="b.c3d", patient_code="P-1")
    with pytest.raises(OtherPatient, match="another patient"):
        await processed(house, folder, recording, "DEMO")
    assert (await house.session(received.session.session_id)).patient_code == "P-1"


async def test_other_bytes_than_those_of_the_session_are_refused(house: House, folder: Path, recording: bytes) -> None:
    session_id = (await processed(house, folder, recording)).session_id
    with pytest.raises(InvalidRecording, match="changed"):
        await house.intake.keep(session_id, in_chunks(recording + b"more"))
    assert (await house.session(session_id)).recording_key is None
    assert house.store.left() == set()


async def test_nothing_is_kept_of_a_session_that_is_erased_meanwhile(house: House, folder: Path, recording: bytes) -> None:
    session_id = (await processed(house, folder, recording)).session_id
    await house.erasure.erase(session_id)
    assert await house.intake.keep(session_id, in_chunks(recording)) is None
    assert house.store.left() == set()


async def test_nothing_is_left_if_it_cannot_be_noted(house: House, folder: Path, recording: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = (await processed(house, folder, recording)).session_id

    async def failing(session_id: SessionId, recording_key: str) -> TherapySession | None:
        raise StorageUnavailable("the registry does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(house.registry, "keep", failing)
        with pytest.raises(StorageUnavailable):
            await house.intake.keep(session_id, in_chunks(recording))
    assert house.store.left() == set()
    intake: RecordingIntake = house.intake
    assert await intake.keep(session_id, in_chunks(recording)) is not None
