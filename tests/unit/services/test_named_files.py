"""A stored recording is read under its own name, by a link. Whoever is killed meanwhile leaves one, which names a patient's recording."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from services.named_files import LINK_FOLDERS, LINK_KEPT_S, under_name


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def left_by_a_killed_worker(temporary: Path, name: str, age_s: float) -> Path:
    folder = temporary / f"{LINK_FOLDERS}{name}"
    folder.mkdir()
    (folder / "P001.c3d").symlink_to(temporary / "the recording")
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def test_the_link_has_the_name_and_is_gone_afterwards(tmp_path: Path, temporary: Path) -> None:
    stored = tmp_path / "1c5a"
    stored.write_bytes(b"a recording")
    with under_name(stored, "P001.c3d") as named:
        assert named.name == "P001.c3d"
        assert named.read_bytes() == b"a recording"
    assert list(temporary.iterdir()) == []


def test_what_a_killed_worker_left_is_removed_when_it_is_old_and_its_recording_stays(tmp_path: Path, temporary: Path) -> None:
    recording = temporary / "the recording"
    recording.write_bytes(b"a recording")
    old = left_by_a_killed_worker(temporary, "old", LINK_KEPT_S + 60.0)
    young = left_by_a_killed_worker(temporary, "young", LINK_KEPT_S - 60.0)
    strange = temporary / "of another program"
    strange.mkdir()
    os.utime(strange, (0, 0))
    with under_name(tmp_path, "P002.c3d"):
        assert not old.exists()
    assert sorted(temporary.iterdir()) == sorted([strange, recording, young])
    assert recording.read_bytes() == b"a recording"
