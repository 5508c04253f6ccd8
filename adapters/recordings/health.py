"""How the recording store does: whether a recording could be written to it now."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import obstore

from adapters.recordings.errors import translated, translated_write
from adapters.recordings.places import Place
from adapters.recordings.policy import RecordingPolicy
from adapters.recordings.scratch import finished
from domain.errors import RecordingNotFound
from domain.ports import PartHealth, WatchedPart

_REMEMBERED_S: Final = 5.0
_LOOK_S_MAX: Final = 1.5
_BYTES_MIN: Final = 1_000_000  # Less is no space for a recording.
_NOBODYS: Final = ".health"  # No key begins with a dot.


class RecordingStoreHealth(WatchedPart):
    """Looks at the folder, or asks S3 for an object that is nobody's.

    What was seen is good for some seconds. A disk that hangs holds the thread that looks: there is one look at a time, which all wait for.
    """

    def __init__(self, place: Place, policy: RecordingPolicy, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._policy = policy
        self._clock = clock
        self._looking: asyncio.Task[PartHealth] | None = None
        self._looked_at_s = 0.0

    async def look(self) -> PartHealth:
        """See the port."""
        if self._looking is None or (self._looking.done() and self._clock() - self._looked_at_s >= _REMEMBERED_S):
            self._looked_at_s = self._clock()
            self._looking = asyncio.create_task(self._look(), name="look at the recording store")
        return await asyncio.shield(self._looking)

    async def _look(self) -> PartHealth:
        if self._place.root is not None:
            with translated_write():
                return await finished(self._folder, self._place.root)
        # A GET, for the answer to a HEAD does not tell a bucket that is not there from an object that is not.
        with suppress(RecordingNotFound), translated(_NOBODYS):
            async with asyncio.timeout(_LOOK_S_MAX):
                await obstore.get_async(self._place.objects, _NOBODYS)
        return PartHealth("healthy")

    def _folder(self, root: Path) -> PartHealth:
        disk = os.statvfs(root)
        free_bytes = disk.f_bavail * disk.f_frsize
        facts = {"free_bytes": free_bytes}
        if not os.access(root, os.W_OK | os.X_OK):
            return PartHealth(
                "unhealthy", "the folder of the recording store cannot be written; check DATA_DIR, RECORDINGS_URL and its rights", facts
            )
        if free_bytes < _BYTES_MIN or (disk.f_files and not disk.f_favail):
            return PartHealth("unhealthy", "the disk of the recording store is full", facts)
        if free_bytes < self._policy.bytes_max:
            return PartHealth("degraded", "the disk of the recording store has no space for a recording of RECORDING_MEGABYTES_MAX", facts)
        return PartHealth("healthy", None, facts)
