"""Where the documents of a run come from: a recording, analysed, and then grown to the sizes that are asked for."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from adapters import document
from adapters.c3d.reader import C3dRecordingReader
from adapters.c3d.synthesis import synthesise
from adapters.entrypoints.bench.documents import SIZES_BYTES, Documents, compressed, grown_to
from adapters.entrypoints.bench.figures import Document
from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.emg.analysis import analyse


def documents_of(recording: Path | None) -> Documents:
    """The documents of a run: of this recording, or of a synthetic one. Raises InvalidRecording."""
    recorded = _analysed(recording)
    sized = {name: grown_to(recorded, size_bytes) for name, size_bytes in SIZES_BYTES.items()}
    name = "a real recording" if recording is not None else "a synthetic recording"
    return Documents(recorded, sized, tuple(_facts(each, of) for each, of in {name: recorded, **sized}.items()))


def _analysed(recording: Path | None) -> SessionAnalytics:
    with tempfile.TemporaryDirectory() as folder:
        path = recording or Path(folder) / "synthetic.c3d"
        if recording is None:
            synthesise(path, seed=1)
        parameters = AnalysisParameters()
        return analyse(C3dRecordingReader().read(path, parameters), parameters, processed_at=datetime.now(UTC))


def _facts(name: str, analytics: SessionAnalytics) -> Document:
    return Document(name, len(document.encode(analytics)), len(compressed(analytics)))
