"""Recordings in a folder: what only a file system can do to one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from adapters.recordings import ObstoreRecordingStore, RecordingPolicy, S3Access, place_at
from domain.errors import InvalidRecordingKey, InvalidSettings, RecordingNotFound, StorageUnavailable
from tests.patience import eventually

ROOT: Final = Path(__file__).parents[3]

# A put in a process of its own, whose files may have 100 kB; or which waits for its end after 200 kB.
PUT: Final = """
import asyncio, resource, sys
from pathlib import Path
from adapters.recordings import ObstoreRecordingStore, RecordingPolicy, S3Access, place_at
from domain.errors import StorageUnavailable

folder, mode = Path(sys.argv[1]), sys.argv[2]

async def chunks():
    for _ in range(20):
        yield bytes(100_000)
    if mode == "stall":
        await asyncio.sleep(60)

async def main():
    store = ObstoreRecordingStore(place_at(None, folder, S3Access(), RecordingPolicy()), RecordingPolicy())
    if mode == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, 1_200_000))
    try:
        await store.put("session/a.c3d", chunks())
    except StorageUnavailable as error:
        print(error)

asyncio.run(main())
"""


def store_in(folder: Path, **policy: float) -> ObstoreRecordingStore:
    chosen = RecordingPolicy(**policy)  # type: ignore[arg-type]  # all bounds given here are floats
    return ObstoreRecordingStore(place_at(None, folder, S3Access(), chosen), chosen)


async def some() -> AsyncIterator[bytes]:
    yield b"some"


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


async def test_the_file_itself_is_fetched(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    await store.put("session/a.c3d", some())
    async with store.fetched("session/a.c3d") as path:
        assert path == tmp_path / "recordings" / "session" / "a.c3d"


async def test_nobody_else_may_read_recordings(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    await store.put("session/a.c3d", some())
    assert (tmp_path / "recordings").stat().st_mode & 0o077 == 0
    assert (tmp_path / "recordings" / "session" / "a.c3d").stat().st_mode & 0o022 == 0


def size_of_what_arrived(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("recording"))


@pytest.mark.parametrize("key", ["out/secret", "out/new", "deep/out/secret"])
async def test_a_link_leads_nowhere_else(tmp_path: Path, key: str) -> None:
    store = store_in(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (tmp_path / "recordings" / "deep").mkdir()
    (tmp_path / "recordings" / "out").symlink_to(outside)
    (tmp_path / "recordings" / "deep" / "out").symlink_to(outside)
    await store.put("a", some())

    async def fetch() -> None:
        async with store.fetched(key):
            pass

    for attempt in (fetch, lambda: store.put(key, some()), lambda: store.move("a", key), lambda: store.delete(key)):
        with pytest.raises(InvalidRecordingKey, match="leads out"):
            await attempt()
    assert files_in(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


async def test_a_link_to_a_file_elsewhere_is_no_recording(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "recordings" / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidRecordingKey, match="leads out"):
        async with store.fetched("a"):
            pass
    await store.put("a", some())  # The link is replaced, and not what it leads to.
    assert (tmp_path / "secret").read_bytes() == b"secret"


async def test_a_folder_is_no_recording_and_a_recording_no_folder(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    await store.put("a/b", some())
    with pytest.raises(RecordingNotFound):
        async with store.fetched("a"):
            pass
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(InvalidRecordingKey):
            await store.put(key, some())
        with pytest.raises(InvalidRecordingKey):
            await store.move("a/b", key)
    assert files_in(tmp_path / "recordings") == ["a/b"]


def test_a_disk_that_takes_no_more_is_an_outage_and_nothing_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PUT, str(tmp_path), "full"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "EFBIG" in result.stdout
    assert files_in(tmp_path / "recordings") == []


async def test_what_a_killed_process_leaves_is_no_recording_and_is_removed_later(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PUT, str(tmp_path), "stall", cwd=ROOT)
    try:
        await eventually(lambda: asyncio.to_thread(size_of_what_arrived, tmp_path), lambda size: size > 1_000_000, within_s=30)
    finally:
        process.kill()
        await process.wait()
    assert len(files_in(tmp_path / "recordings")) == 1
    store = store_in(tmp_path)
    with pytest.raises(RecordingNotFound):
        async with store.fetched("session/a.c3d"):
            pass
    await store.open()
    assert len(files_in(tmp_path / "recordings")) == 1  # It may belong to somebody who is still at it.
    for left in (tmp_path / "recordings" / ".scratch").iterdir():
        os.utime(left, (time.time(), time.time() - RecordingPolicy().leftover_s - 1))
    await store.open()
    assert files_in(tmp_path / "recordings") == []


async def test_a_sender_that_never_ends_is_given_up(tmp_path: Path) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    store = store_in(tmp_path, arrival_s=0.05)
    with pytest.raises(StorageUnavailable, match=r"0\.05 s"):
        await store.put("a", never())
    assert files_in(tmp_path / "recordings") == []


@pytest.mark.parametrize("setting", ["DATA_DIR", "RECORDINGS_URL"])
def test_a_folder_that_cannot_be_made_is_a_mistake_in_its_setting(tmp_path: Path, setting: str) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "below", tmp_path / "file", Path("/proc/x"), tmp_path / "a\0b"):
        url = folder.as_uri() if setting == "RECORDINGS_URL" else None
        with pytest.raises(InvalidSettings, match=f"^{setting}: "):
            place_at(url, folder, S3Access(), RecordingPolicy())


@pytest.mark.parametrize("url", ["memory://", "s3://bucket/prefix"])
def test_temporary_files_need_a_folder_too(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match=r"^DATA_DIR: "):
        place_at(url, tmp_path / "file", S3Access(access_key_id="a", secret_access_key="b", region="r"), RecordingPolicy())


def test_trying_a_folder_leaves_nothing_in_it(tmp_path: Path) -> None:
    store_in(tmp_path)
    assert files_in(tmp_path) == []
