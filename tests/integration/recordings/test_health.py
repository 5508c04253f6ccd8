"""What is seen of the recording store."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters.recordings import RecordingPolicy, RecordingStoreHealth, S3Access, memory_place, place_at
from domain.errors import StorageRefused, StorageUnavailable
from tests.s3 import S3Server, s3_server

POLICY = RecordingPolicy(bytes_max=50_000_000)


def disk(*, free_bytes: int, free_files: int = 1000) -> SimpleNamespace:
    return SimpleNamespace(f_bavail=free_bytes // 1000, f_frsize=1000, f_files=5000, f_favail=free_files)


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (disk(free_bytes=60_000_000), "healthy"),
        (disk(free_bytes=49_000_000), "degraded"),
        (disk(free_bytes=0), "unhealthy"),
        (disk(free_bytes=60_000_000, free_files=0), "unhealthy"),
    ],
)
async def test_a_disk_without_space_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: SimpleNamespace, status: str) -> None:
    place = place_at(None, tmp_path, S3Access(), POLICY)
    monkeypatch.setattr(os, "statvfs", lambda _: seen)
    found = await RecordingStoreHealth(place, POLICY).look()
    assert (found.status, found.facts) == (status, {"free_bytes": seen.f_bavail * 1000})
    assert (found.reason is None) == (status == "healthy")


async def test_a_folder_that_vanished_is_told_and_what_was_seen_is_remembered_for_seconds(tmp_path: Path) -> None:
    now_s = 100.0
    place = place_at(None, tmp_path, S3Access(), POLICY)
    watch = RecordingStoreHealth(place, POLICY, clock=lambda: now_s)
    seen = await watch.look()
    assert place.root is not None
    place.root.rmdir()
    assert await watch.look() is seen
    now_s += 5.0
    with pytest.raises(StorageUnavailable, match="vanished"):
        await watch.look()


async def test_memory_is_healthy(tmp_path: Path) -> None:
    assert (await RecordingStoreHealth(memory_place(tmp_path), POLICY).look()).status == "healthy"


async def test_a_bucket_is_asked_for(s3: S3Server, tmp_path: Path) -> None:
    place = place_at("s3://no-such-bucket/p", tmp_path, s3.access, POLICY)
    with pytest.raises(StorageRefused, match="bucket"):
        await RecordingStoreHealth(place, POLICY).look()
    s3.make_bucket("looked-at")
    place = place_at("s3://looked-at/p", tmp_path, s3.access, POLICY)
    assert (await RecordingStoreHealth(place, POLICY).look()).status == "healthy"


async def test_a_store_that_is_frozen_is_given_up(tmp_path: Path) -> None:
    with s3_server(tmp_path / "s3") as server:
        server.make_bucket("frozen")
        place = place_at("s3://frozen", tmp_path, server.access, POLICY)
        with server.frozen(), pytest.raises(StorageUnavailable, match="in time"):
            await RecordingStoreHealth(place, POLICY).look()
