"""Processes recordings: read, analyse, register, save. Knows one repository and not a word about what stands behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.errors import EmgSessionsError, RecordingNotFound, StorageUnavailable
from domain.mvc import GivenMvc
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

_ROUNDS_MAX: Final = 5


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

    async def process(self, path: Path, *, mvc: GivenMvc | None = None, patient_code: str | None = None) -> Processed:
        """Processes the recording in a file. Either everything is stored or nothing is, and processing it again completes what is missing.

        MVC values that are given take the place of those that the session has; None: it keeps them. A session that is known keeps its
        patient. Raises InvalidRecording or AnalysisFailed for this file, and StorageError if the storage fails.
        """
        digest = await asyncio.to_thread(self._reader.digest, path)
        for _ in range(_ROUNDS_MAX):
            processed = await self._process_file(path, digest, mvc, patient_code)
            if processed is not None:
                return processed
            mvc = None  # Whoever gave values meanwhile gave them later.
        raise _unsettled(path.name)

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
        """Notes that a session failed, and why. With a duplicate that handed its MVC values on, it is its original that failed."""
        session = await self._registry.find(session_id)
        if session is not None and session.state is SessionState.DUPLICATE and session.same_as is not None:
            original = await self._registry.find(session.same_as)
            if original is not None and original.mvc == session.mvc is not None:
                await self._registry.note(original.session_id, SessionState.FAILED, failure=failure)
        await self._registry.note(session_id, SessionState.FAILED, failure=failure)

    async def _process_file(self, path: Path, digest: str, given: GivenMvc | None, patient_code: str | None) -> Processed | None:
        """Processes a file once; None if the session turns out to be another meanwhile, or to have other MVC values."""
        registered = await self._registry.find_by_recording(digest)
        session_id = session_id_of(digest) if registered is None else registered.session_id
        mvc = registered.mvc if given is None and registered is not None else given
        parameters = self._parameters.with_mvc(mvc)
        known = await self._repository.get(session_id, freshness=Freshness.FRESH)
        if known is not None and _is_of(known.analytics, parameters, digest):
            session = await self._taken(known.analytics, SessionState.COMPLETED, mvc, given, patient_code)
            if session is None:
                return None
            processed = Processed(session_id, known.analytics, known.version, new=False)
            if session.state is SessionState.COMPLETED:
                return processed
        else:
            # Under the name that the session has, so that it is the same analysis wherever it is made.
            analytics = await self._analysed(path, None if registered is None else registered.file_name, session_id, parameters)
            if await self._taken(analytics, SessionState.PROCESSING, mvc, given, patient_code) is None:
                return None
            receipt = await self._saved(analytics)
            processed = Processed(session_id, analytics, receipt.version, new=receipt.changed)
        completed = await self._registry.complete(session_id, mvc, recorded_at=processed.analytics.recording.recorded_at)
        if completed is None:  # It was erased meanwhile.
            await self._repository.delete(session_id)
        return processed if completed is None or completed.mvc == mvc else None

    async def _process_from_store(self, session_id: SessionId) -> None:
        session = await self._registry.find(session_id)
        if session is None:
            raise _Erased
        if session.state is SessionState.COMPLETED or (session.state is SessionState.DUPLICATE and session.mvc is None):
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
            if identified.state is not SessionState.DUPLICATE:
                await self._complete_from(path, digest, identified)
            elif identified.mvc is not None and identified.same_as is not None:
                await self._hand_on(path, digest, identified.mvc, identified.same_as)

    async def _hand_on(self, path: Path, digest: str, mvc: GivenMvc, original_id: SessionId) -> None:
        """The MVC values that a duplicate came with are those of its bytes: its original gets them, and is analysed with them from here.

        Its own recording may not have been kept. Told again, this does what is missing.
        """
        original = await self._registry.remeasure(original_id, mvc)
        if original is None or original.state is SessionState.COMPLETED:  # It was erased, or had these values before.
            return
        try:
            await self._complete_from(path, digest, original)
        except _Erased:
            await self._repository.delete(original_id)

    async def _complete_from(self, path: Path, digest: str, session: TherapySession) -> None:
        """Analyses a session, until its analytics are those of the MVC values that it has by then."""
        session_id = session.session_id
        for _ in range(_ROUNDS_MAX):
            parameters = self._parameters.with_mvc(session.mvc)
            known = await self._repository.get(session_id, freshness=Freshness.FRESH)
            if known is not None and _is_of(known.analytics, parameters, digest):
                analytics = known.analytics
            else:
                await self._note(session_id, SessionState.PROCESSING, _ANALYSING)
                analytics = await self._analysed(path, session.file_name, session_id, parameters)
                await self._note(session_id, SessionState.PROCESSING, _SAVING)
                await self._saved(analytics)
            completed = await self._registry.complete(session_id, session.mvc, recorded_at=analytics.recording.recorded_at)
            if completed is None:
                raise _Erased
            if completed.mvc == session.mvc:
                return
            session = completed
        raise _unsettled(session.file_name)

    async def _analysed(self, path: Path, file_name: str | None, session_id: SessionId, parameters: AnalysisParameters) -> SessionAnalytics:
        with self._traces.span("analyse recording"):
            return await self._workers.run(
                file_name or path.name, read_and_analyse, self._reader, path, file_name, parameters, self._clock(), session_id
            )

    async def _saved(self, analytics: SessionAnalytics) -> SaveReceipt:
        with self._traces.span("save analytics"):
            return await self._repository.save(analytics)

    async def _taken(
        self,
        analytics: SessionAnalytics,
        state: SessionState,
        mvc: GivenMvc | None,
        given: GivenMvc | None,
        patient_code: str | None,
    ) -> TherapySession | None:
        """The session of a file's analytics, registered if it was not; None if it has other MVC values than the analysis, and they stay."""
        facts = analytics.recording
        session: TherapySession | None = await self._registry.register(
            TherapySession(
                session_id=analytics.session_id,
                file_name=facts.file_name,
                recording_sha256=facts.sha256,
                size_bytes=facts.size_bytes,
                recorded_at=facts.recorded_at,
                registered_at=self._clock(),
                patient_code=patient_code,
                mvc=mvc,
                state=state,
                progress=_DONE if state is SessionState.COMPLETED else _SAVING,
            )
        )
        if session is None or session.session_id != analytics.session_id:
            return None  # The same bytes arrived by another way meanwhile: that is the session, and is known now.
        if given is not None and session.mvc != given:
            session = await self._registry.remeasure(session.session_id, given)
        return session if session is not None and session.mvc == mvc else None

    async def _note(self, session_id: SessionId, state: SessionState, progress: float) -> None:
        if not await self._registry.note(session_id, state, progress=progress):
            raise _Erased


def _is_of(analytics: SessionAnalytics, parameters: AnalysisParameters, digest: str) -> bool:
    return analytics.parameters == parameters and analytics.recording.sha256 == digest


def _unsettled(file_name: str) -> StorageUnavailable:
    return StorageUnavailable(f"{file_name}: its session was given other MVC values over and over while it was analysed; try again")


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
