"""Temporary files, which are gone when they are no longer needed, whatever happened meanwhile."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from adapters.recordings.errors import translated_write

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")

_THREAD_S_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder of our own for them. Each is in a subfolder that nobody else may open, for recordings are patient data."""

    folder: Path

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Path]:
        """An empty folder, for as long as the context lasts."""
        with translated_write():
            made = await finished(self._make)
        try:
            yield made
        finally:
            await finished(_removed, made)

    def remove_leftovers(self, age_s: float) -> None:
        """Removes what processes have left that were killed. Blocks."""
        with suppress(OSError):  # There is none yet, or it cannot be used, which is told when it is.
            for left in self.folder.iterdir():
                with suppress(OSError):
                    if time.time() - left.stat().st_mtime > age_s:
                        _removed(left)

    def _make(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(dir=self.folder))


def _removed(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


async def finished(function: Callable[[*Arguments], T], /, *arguments: *Arguments, when_cancelled: Callable[[], None] | None = None) -> T:
    """What a function returns that runs in a thread.

    A thread cannot be cancelled: whoever is cancelled waits for its end, and `when_cancelled` may tell it to hurry.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if when_cancelled is not None:
            when_cancelled()
        await asyncio.wait([work], timeout=_THREAD_S_MAX)
        if work.done() and not work.cancelled():
            work.exception()  # Whoever was cancelled will not ask for it.
        raise


def synced_folder(folder: Path) -> None:
    """Makes sure that a new name in a folder survives a power failure. Blocks."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
