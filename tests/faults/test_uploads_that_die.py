"""Uploads whose process is killed: what they leave is removed in time, and nothing that is anybody's."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.c3d.synthesis import synthesise
from adapters.postgres.session_registry import PostgresSessionRegistry
from services.leftover_uploads import LeftoverUploads
from tests.recordings import FolderStore
from tests.stores import fresh_engine
from tests.strategies import some_session

__all__ = ["fresh_engine"]

_ROOT: Final = Path(__file__).parents[2]
_AGE: Final = timedelta(hours=24)


async def killed_upload(folder: Path, file: Path) -> None:
    """Uploads a file in a process that is killed when the recording has its name and before it has a session."""
    command = [sys.executable, "-c", "from tests.faults.uploading import main; main()", str(folder), str(file)]
    process = await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"named\n"
    finally:
        process.kill()
        await process.wait()


def leftovers(store: FolderStore, engine: AsyncEngine, later: timedelta) -> LeftoverUploads:
    """As workers would find them so much later."""
    return LeftoverUploads(store=store, registry=PostgresSessionRegistry(engine), age=_AGE, clock=lambda: datetime.now(UTC) + later)


async def test_an_upload_that_was_killed_before_it_had_a_session_is_removed_in_time(fresh_engine: AsyncEngine, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    made = await asyncio.to_thread(synthesise, tmp_path / "made.c3d", seed=1, duration_s=1.0)
    body = made.path.read_bytes()
    key = f"uploads/{hashlib.sha256(body).hexdigest()}.c3d"
    await killed_upload(tmp_path, made.path)
    assert store.left() == {key}, "the process was killed too early or too late"
    assert await leftovers(store, fresh_engine, _AGE - timedelta(minutes=5)).remove() == 0
    assert store.left() == {key}
    assert await leftovers(store, fresh_engine, _AGE + timedelta(minutes=5)).remove() == 1
    assert store.left() == set()


async def test_what_a_session_names_or_others_have_stored_stays(fresh_engine: AsyncEngine, tmp_path: Path) -> None:
    store, registry = FolderStore(tmp_path), PostgresSessionRegistry(fresh_engine)
    named, unnamed, broken_off = f"uploads/{'a' * 64}.c3d", f"uploads/{'b' * 64}.c3d", "incoming/0d1b7a0e-6a0e-4b0c-9d94-000000000001.c3d"
    # Buckets of the storage may be called as our folders are.
    others = {"uploads/P001/a.c3d", "uploads/a.c3d", "incoming/a.c3d", f"bucket/{'b' * 64}.c3d"}
    for key in (named, unnamed, broken_off, *others):
        await store.keep(key, key.encode())
    await registry.register(some_session(recording_key=named))
    assert await leftovers(store, fresh_engine, _AGE * 2).remove() == 2
    assert store.left() == {named, *others}


async def test_an_upload_that_comes_again_while_leftovers_are_removed_stays(
    fresh_engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is registered between the list and the removal."""
    store, registry = FolderStore(tmp_path), PostgresSessionRegistry(fresh_engine)
    key = f"uploads/{'a' * 64}.c3d"
    await store.keep(key, b"content")
    naming, session = registry.naming, some_session(recording_key=key)

    async def registered_meanwhile(keys: Collection[str]) -> frozenset[str]:
        named = await naming(keys)
        if key in keys:
            await registry.register(session)
        return named

    monkeypatch.setattr(registry, "naming", registered_meanwhile)
    assert await LeftoverUploads(store=store, registry=registry, age=_AGE, clock=lambda: datetime.now(UTC) + 2 * _AGE).remove() == 0
    assert store.left() == {key}
