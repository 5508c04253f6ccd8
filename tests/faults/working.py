"""`emg-sessions worker` as it is, with a reader that notes what it reads and waits while a file named `hold` is there."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from dependency_injector import providers

from adapters.c3d.reader import C3dRecordingReader
from adapters.entrypoints import console, worker
from adapters.settings import Settings
from container import Container
from domain.analytics import AnalysisParameters
from domain.emg.recording import Recording
from domain.ports import RecordingReader

_HOLD_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class HeldReader(RecordingReader):
    """The real one, held."""

    folder: Path

    def digest(self, path: Path, *, file_name: str | None = None) -> str:
        return C3dRecordingReader().digest(path, file_name=file_name)

    def read(self, path: Path, parameters: AnalysisParameters, *, file_name: str | None = None) -> Recording:
        with (self.folder / "reads").open("a") as notes:
            notes.write(f"{file_name or path.name} {os.getpid()} {os.getppid()}\n")
        end_s = time.monotonic() + _HOLD_S_MAX
        while (self.folder / "hold").exists() and time.monotonic() < end_s:
            time.sleep(0.01)
        return C3dRecordingReader().read(path, parameters, file_name=file_name)


async def _command(app: Container, settings: Settings) -> console.ExitCode:
    app.recording_reader.override(providers.Object(HeldReader(Path(sys.argv[1]))))
    return await worker.command(app, settings)


def main() -> None:
    """Runs it. Not as `__main__`, which other processes could not import the reader from."""
    sys.exit(console.run(_command))
