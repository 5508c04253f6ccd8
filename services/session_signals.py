"""Signals of a session for whoever wants to look at them: checked, reduced in a worker process, and remembered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from domain.emg.recording import Channel, Signal
from domain.errors import InvalidRecording, Overloaded, RecordingNotFound, StoredDataInvalid
from domain.ports import (
    RecordingReader,
    RecordingStore,
    SessionAnalyticsRepository,
    SharedWork,
    SignalPreviews,
    SignalReducer,
    Workers,
)
from domain.session import TherapySession
from domain.signals import PREVIEW_S_MAX, ReducedSignal, SignalKind, SignalPlan, SignalPreview, SignalRequest, planned
from services.analytics_of_sessions import analytics_of

Source = Literal["remembered", "made", "joined"]


@dataclass(frozen=True, slots=True)
class SignalsAnswer:
    """A preview; whether it was remembered, was made for this caller, or for another who wanted the same at the same time."""

    preview: SignalPreview
    source: Source


class SessionSignals:
    """Plans a request by the session's analytics, which opens no file, and makes its preview if it is not remembered.

    Equal requests at the same time are one piece of work. At most `waiting_max` are under way; beyond them Overloaded is raised at once.
    """

    def __init__(
        self,
        *,
        repository: SessionAnalyticsRepository,
        store: RecordingStore,
        workers: Workers,
        reader: RecordingReader,
        reducer: SignalReducer,
        previews: SignalPreviews,
        shared: SharedWork[SignalPreview],
        waiting_max: int = 32,
    ) -> None:
        self._repository = repository
        self._store = store
        self._workers = workers
        self._reader = reader
        self._reducer = reducer
        self._previews = previews
        self._shared = shared
        self._waiting_max = waiting_max
        self._waiting = 0

    async def plan(self, session: TherapySession, request: SignalRequest) -> SignalPlan | None:
        """How to answer a request; None if the session has no analytics. Raises UnknownChannel and InvalidSignalRequest."""
        answer = await analytics_of(self._repository, session)
        return None if answer is None else planned(answer.analytics, request)

    async def answer(self, session: TherapySession, plan: SignalPlan) -> SignalsAnswer:
        """The answer to a plan.

        Raises RecordingNotFound if the recording was not kept, StoredDataInvalid if another is in its place, Overloaded, and what the
        recording store and the workers raise.
        """
        remembered = await self._previews.find(session.session_id, plan.key)
        if remembered is not None:
            return SignalsAnswer(remembered, "remembered")
        landed = await self._shared.join(plan.key, lambda: self._make(session, plan))
        return SignalsAnswer(landed.result, "joined" if landed.joined else "made")

    async def _make(self, session: TherapySession, plan: SignalPlan) -> SignalPreview:
        if session.recording_key is None:
            raise RecordingNotFound(
                "the recording was processed from a file and not kept; upload the same file, in the dashboard or by POST "
                "/api/v1/recordings: it is the same session, and its recording is kept from then on"
            )
        if self._waiting >= self._waiting_max:
            raise Overloaded(f"{self._waiting_max} signals are being prepared already; try again in a moment")
        self._waiting += 1
        try:
            async with asyncio.timeout(PREVIEW_S_MAX), self._store.fetched(session.recording_key) as path:
                preview = await self._workers.run(session.file_name, preview_of, self._reader, self._reducer, path, plan)
        except TimeoutError:
            raise Overloaded(f"the signals were not ready within {PREVIEW_S_MAX:g} s; try again in a moment") from None
        except InvalidRecording as error:
            await self._still_there(session.recording_key)
            raise StoredDataInvalid(f"the recording in the recording store cannot be read any more: {error.reason}") from error
        finally:
            self._waiting -= 1
        await self._previews.keep(session.session_id, preview)
        return preview

    async def _still_there(self, key: str) -> None:
        """Raises RecordingNotFound if the recording was erased while it was read."""
        async with self._store.fetched(key):
            return


def preview_of(reader: RecordingReader, reducer: SignalReducer, path: Path, plan: SignalPlan) -> SignalPreview:
    """Reads a recording and reduces its signals; blocks, and runs in a worker process, which only the points leave."""
    recording = reader.read(path, plan.parameters)
    channels = {channel.name: channel for channel in recording.channels}
    if recording.facts.sha256 != plan.recording_sha256 or not channels.keys() >= set(plan.channels):
        raise StoredDataInvalid("the recording in the recording store is not the one that was analysed; process it again")
    return SignalPreview(plan.key, tuple(_reduced(channels[name], kind, plan, reducer) for name in plan.channels for kind in plan.kinds))


def _reduced(channel: Channel, kind: SignalKind, plan: SignalPlan, reducer: SignalReducer) -> ReducedSignal:
    signal = _signal(channel, kind, plan)
    if isinstance(signal, str):
        return ReducedSignal(channel.name, kind, np.empty(0, np.uint32), np.empty(0, np.float32), missing=signal)
    window = signal[plan.first : plan.end]
    kept = reducer.reduce(window, plan.points)
    return ReducedSignal(channel.name, kind, (kept + plan.first).astype(np.uint32), window[kept].astype(np.float32))


def _signal(channel: Channel, kind: SignalKind, plan: SignalPlan) -> Signal | str:
    """The whole signal, or why there is none. An envelope is that of the analysis, whose filters look beyond the window."""
    match kind:
        case SignalKind.RAW:
            return channel.raw
        case SignalKind.ACTIVATED:
            return "the recording has no activated signal of this channel" if channel.activated is None else channel.activated
        case SignalKind.ENVELOPE:
            if (reason := plan.unanalysed.get(channel.name)) is not None:
                return reason
            # It brings scipy.signal, for a second: only the processes that work pay for it.
            from domain.emg.envelope import envelope_as_analysed  # noqa: PLC0415

            return envelope_as_analysed(channel.raw, plan.sampling_rate_hz, plan.parameters)
