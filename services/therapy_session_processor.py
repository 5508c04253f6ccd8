"""Processes recordings: read, analyse, register, save. Knows one repository and not a word about what stands behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.errors import EmgSessionsError, RecordingNotFound
from domain.ports import (
    Freshness,
    RecordingReader,
    RecordingStore,
    SaveReceipt,
    SessionAnalyticsRepository,
    SessionProcessing,
    SessionRegistry,
    Traces,
    Workers,
)
from domain.session import SessionId, SessionState, TherapySession, session_id_of
from domain.traces import NoTraces

# The share of the work that is done when a stage begins, about.
_FETCHING: Final = 0.05
_IDENTIFYING: Final = 0.2
_ANALYSING: Final = 0.3
_SAVING: Final = 0.9
_DONE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Processed:
    """What became of one recording. `new` is False if the same bytes had been analysed with the same parameters before."""

    session_id: SessionId
    analytics: SessionAnalytics
    version: int
    new: bool


class _Erased(Exception):
    """The session was erased while it was processed."""


class TherapySessionProcessor(SessionProcessing):
    """Analyses each recording once. The same bytes are the same session, however often and wherever they are processed."""

    def __init__(
        self,
        *,
        reader: RecordingReader,
        workers: Workers,
        repository: SessionAnalyticsRepository,
        registry: SessionRegistry,
        store: RecordingStore,
        parameters: AnalysisParameters,
        traces: Traces | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reader = reader
        self._workers = workers
        self._repository = repository
        self._registry = registry
        self._store = store
        self._parameters = parameters
        self._traces = traces or NoTraces()
        self._clock = clock

    async def process(self, path: Path) -> Processed:
        """Processes the recording in a file. Either everything is stored or nothing is, and processing it again completes what is missing.

        Raises InvalidRecording or AnalysisFailed for this file, and StorageError if the storage fails.
        """
        digest = await asyncio.to_thread(self._reader.digest, path)
        registered = await self._registry.find_by_recording(digest)
        session_id = session_id_of(digest) if registered is None else registered.session_id
        known = await self._repository.get(session_id, freshness=Freshness.FRESH)
        if known is not None and self._is_of(known.analytics, digest):
            await self._complete(await self._register(known.analytics, SessionState.COMPLETED), known.analytics)
            return Processed(session_id, known.analytics, known.version, new=False)
        # Under the name that the session has, so that it is the same analysis wherever it is made.
        analytics = await self._analysed(path, None if registered is None else registered.file_name, session_id)
        session = await self._register(analytics, SessionState.PROCESSING)
        if session.session_id != session_id:
            return await self.process(path)  # The same bytes arrived by another way meanwhile: that is the session, and is known now.
        receipt = await self._saved(analytics)
        await self._complete(session, analytics)
        return Processed(session_id, analytics, receipt.version, new=receipt.changed)

    async def process_session(self, session_id: SessionId) -> None:
        """Processes a registered session, whose recording is in the store.

        Told again, also after a death at any point, it does what is missing. A session that is erased meanwhile stays erased. Raises what
        `process` raises, and what the store does.
        """
        try:
            try:
                await self._process_from_store(session_id)
            except EmgSessionsError as error:
                # What was erased while it was read fails for want of its file.
                if await self._registry.find(session_id) is None:
                    raise _Erased from error
                raise
        except _Erased:
            # Whoever erased the session may not have seen what was saved here, or by a worker that died before it looked.
            await self._repository.delete(session_id)

    async def give_up(self, session_id: SessionId, failure: str) -> None:
        """Notes that a session failed, and why."""
        await self._registry.note(session_id, SessionState.FAILED, failure=failure)

    async def _process_from_store(self, session_id: SessionId) -> None:
        session = await self._registry.find(session_id)
        if session is None:
            raise _Erased
        if session.state in (SessionState.COMPLETED, SessionState.DUPLICATE):
            return
        if session.recording_key is None:
            raise RecordingNotFound(f"{session.file_name}: its recording was not kept")
        await self._note(session_id, SessionState.PROCESSING, _FETCHING)
        async with self._store.fetched(session.recording_key) as path:
            await self._note(session_id, SessionState.PROCESSING, _IDENTIFYING)
            digest, size_bytes = await asyncio.to_thread(_identity, self._reader, path, session.file_name)
            identified = await self._registry.identify(session_id, digest, size_bytes)
            if identified is None:
                raise _Erased
            if identified.state is SessionState.DUPLICATE:
                return
            known = await self._repository.get(session_id, freshness=Freshness.FRESH)
            if known is not None and self._is_of(known.analytics, digest):
                analytics = known.analytics
            else:
                await self._note(session_id, SessionState.PROCESSING, _ANALYSING)
                analytics = await self._analysed(path, session.file_name, session_id)
                await self._note(session_id, SessionState.PROCESSING, _SAVING)
                await self._saved(analytics)
        await self._note(session_id, SessionState.COMPLETED, _DONE, recorded_at=analytics.recording.recorded_at)

    async def _analysed(self, path: Path, file_name: str | None, session_id: SessionId) -> SessionAnalytics:
        with self._traces.span("analyse recording"):
            return await self._workers.run(
                file_name or path.name, read_and_analyse, self._reader, path, file_name, self._parameters, self._clock(), session_id
            )

    async def _saved(self, analytics: SessionAnalytics) -> SaveReceipt:
        with self._traces.span("save analytics"):
            return await self._repository.save(analytics)

    def _is_of(self, analytics: SessionAnalytics, digest: str) -> bool:
        return analytics.parameters == self._parameters and analytics.recording.sha256 == digest

    async def _register(self, analytics: SessionAnalytics, state: SessionState) -> TherapySession:
        facts = analytics.recording
        return await self._registry.register(
            TherapySession(
                session_id=analytics.session_id,
                file_name=facts.file_name,
                recording_sha256=facts.sha256,
                size_bytes=facts.size_bytes,
                recorded_at=facts.recorded_at,
                registered_at=self._clock(),
                state=state,
                progress=_DONE if state is SessionState.COMPLETED else _SAVING,
            )
        )

    async def _complete(self, session: TherapySession, analytics: SessionAnalytics) -> None:
        if session.state is SessionState.COMPLETED:
            return
        try:
            await self._note(session.session_id, SessionState.COMPLETED, _DONE, recorded_at=analytics.recording.recorded_at)
        except _Erased:
            await self._repository.delete(session.session_id)

    async def _note(self, session_id: SessionId, state: SessionState, progress: float, *, recorded_at: datetime | None = None) -> None:
        if not await self._registry.note(session_id, state, progress=progress, recorded_at=recorded_at):
            raise _Erased


def read_and_analyse(  # noqa: PLR0917 - handed over to another process one by one
    reader: RecordingReader,
    path: Path,
    file_name: str | None,
    parameters: AnalysisParameters,
    processed_at: datetime,
    session_id: SessionId,
) -> SessionAnalytics:
    """Reads and analyses one recording, in a worker process."""
    from domain.emg.analysis import analyse  # noqa: PLC0415 - brings scipy.signal, for a second: only the workers pay for it

    return analyse(reader.read(path, parameters, file_name=file_name), parameters, processed_at=processed_at, session_id=session_id)


def _identity(reader: RecordingReader, path: Path, file_name: str) -> tuple[str, int]:
    return reader.digest(path, file_name=file_name), path.stat().st_size
