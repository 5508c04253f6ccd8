"""Recording readers for tests of worker processes, where they must be importable."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from adapters.c3d.reader import C3dRecordingReader
from domain.analytics import AnalysisParameters
from domain.emg.recording import Recording
from domain.ports import RecordingReader


@dataclass(frozen=True, slots=True)
class DifficultReader(RecordingReader):
    """Reads recordings, except those whose names say otherwise; notes in `notes` which process read which."""

    notes: Path

    def digest(self, path: Path, *, file_name: str | None = None) -> str:
        """As the real one."""
        return C3dRecordingReader().digest(path, file_name=file_name)

    def read(self, path: Path, parameters: AnalysisParameters, *, file_name: str | None = None) -> Recording:
        """As the real one, unless the worker dies or hangs."""
        name = file_name or path.name
        with self.notes.open("a") as notes:
            notes.write(f"{name} {os.getpid()}\n")
        if name.startswith("exits"):
            os._exit(3)
        if name.startswith("is_killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("hangs"):
            time.sleep(3600)
        if name.startswith("raises"):
            raise RuntimeError("the reader has a bug")
        return C3dRecordingReader().read(path, parameters, file_name=file_name)

    def noted(self) -> list[tuple[str, int]]:
        """What was read, and by which process."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [(name, int(pid)) for name, _, pid in (line.partition(" ") for line in lines)]
