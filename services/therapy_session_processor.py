"""Processes recordings: read, analyse, register, save. Knows one repository and not a word about caches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.ports import Freshness, RecordingReader, SessionAnalyticsRepository, SessionRegistry, Workers
from domain.session import SessionId, TherapySession, session_id_of


@dataclass(frozen=True, slots=True)
class Processed:
    """What became of one recording. `new` is False if the same bytes had been analysed with the same parameters before."""

    session_id: SessionId
    analytics: SessionAnalytics
    version: int
    new: bool


class TherapySessionProcessor:
    """Analyses each recording once. The same bytes are the same session, however often and wherever they are processed."""

    def __init__(
        self,
        *,
        reader: RecordingReader,
        workers: Workers,
        repository: SessionAnalyticsRepository,
        registry: SessionRegistry,
        parameters: AnalysisParameters,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reader = reader
        self._workers = workers
        self._repository = repository
        self._registry = registry
        self._parameters = parameters
        self._clock = clock

    async def process(self, path: Path) -> Processed:
        """Processes the recording in a file. Either everything is stored or nothing is, and processing it again completes what is missing.

        Raises InvalidRecording or AnalysisFailed for this file, and StorageError if the storage fails.
        """
        digest = await asyncio.to_thread(self._reader.digest, path)
        known = await self._repository.get(session_id_of(digest), freshness=Freshness.FRESH)
        if known is not None and known.analytics.parameters == self._parameters:
            await self._register(known.analytics)
            return Processed(known.analytics.session_id, known.analytics, known.version, new=False)
        analytics = await self._workers.run(path.name, read_and_analyse, self._reader, path, self._parameters, self._clock())
        await self._register(analytics)
        receipt = await self._repository.save(analytics)
        return Processed(analytics.session_id, analytics, receipt.version, new=receipt.changed)

    async def _register(self, analytics: SessionAnalytics) -> None:
        facts = analytics.recording
        await self._registry.register(
            TherapySession(
                session_id=analytics.session_id,
                file_name=facts.file_name,
                recording_sha256=facts.sha256,
                size_bytes=facts.size_bytes,
                recorded_at=facts.recorded_at,
                registered_at=self._clock(),
            )
        )


def read_and_analyse(reader: RecordingReader, path: Path, parameters: AnalysisParameters, processed_at: datetime) -> SessionAnalytics:
    """Reads and analyses one recording, in a worker process."""
    from domain.emg.analysis import analyse  # noqa: PLC0415 - brings scipy.signal, for a second: only the workers pay for it

    return analyse(reader.read(path, parameters), parameters, processed_at=processed_at)
