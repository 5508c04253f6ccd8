"""Takes an upload in, and stops for good between the recording's getting its name and its session's being registered."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from adapters.memory import MemoryProcessingQueue, MemorySessionRegistry
from domain.ports import Submitted
from domain.session import TherapySession
from services.recording_intake import RecordingIntake
from tests.recordings import FolderStore, in_chunks

_HELD_S_MAX = 60.0


class _HeldQueue(MemoryProcessingQueue):
    """Says that it was asked, and never answers."""

    async def submit(self, session: TherapySession) -> Submitted:
        sys.stdout.write("named\n")
        sys.stdout.flush()
        time.sleep(_HELD_S_MAX)  # noqa: ASYNC251 - the whole process stands still, until it is killed
        return await super().submit(session)


def main() -> None:
    """Receives the file that is named, into the folder that is named."""
    folder, file = Path(sys.argv[1]), Path(sys.argv[2])
    registry = MemorySessionRegistry()
    intake = RecordingIntake(store=FolderStore(folder), registry=registry, queue=_HeldQueue(registry))
    asyncio.run(intake.receive(in_chunks(file.read_bytes()), file_name=file.name, patient_code=None))
