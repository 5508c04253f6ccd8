"""Signals of a session: what is asked of the world for an answer, how often, and what is not."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pytest

from adapters.memory import MemorySessionAnalyticsRepository, MemorySignalPreviews
from adapters.redis_cache.flights import Flights
from adapters.reduction import MinMaxReducer
from domain.analytics import AnalysisParameters, EnvelopeStatistics
from domain.emg.envelope import envelope_as_analysed
from domain.emg.recording import Channel, Recording, Signal
from domain.errors import (
    AnalysisFailed,
    InvalidRecording,
    InvalidSignalRequest,
    Overloaded,
    RecordingNotFound,
    StoredDataInvalid,
    UnknownChannel,
)
from domain.ports import RecordingReader, RecordingStore, StoredRecording, Workers
from domain.session import TherapySession
from domain.signals import PREVIEW_S_MAX, SignalKind, SignalPlan, SignalPreview, SignalRequest
from services import session_signals
from services.session_signals import SessionSignals
from tests.strategies import some_analytics, some_channel, some_session
from tests.unit.emg.recordings import FS, facts, noise

P = ParamSpec("P")
T = TypeVar("T")

SAMPLES = 20_000
RAW = noise(SAMPLES)
RAW[7_777] = 1.0
ACTIVATED = np.abs(noise(SAMPLES, seed=1))


class OneReader(RecordingReader):
    """Has one recording, wherever it is told to look."""

    def __init__(self) -> None:
        self.recording = Recording(
            facts(SAMPLES), (Channel("CH1", RAW, ACTIVATED), Channel("CH2", np.full(SAMPLES, np.nan)), Channel("CH3", RAW * 2))
        )
        self.reads = 0

    def digest(self, path: Path, *, file_name: str | None = None) -> str:
        raise AssertionError("whoever draws signals knows the recording's digest")

    def read(self, path: Path, parameters: AnalysisParameters, *, file_name: str | None = None) -> Recording:
        self.reads += 1
        if "damaged" in path.name:
            raise InvalidRecording(path.name, "the file is truncated")
        return self.recording


class CountedStore(RecordingStore):
    """Counts how often a recording was fetched."""

    def __init__(self) -> None:
        self.fetches = 0
        self.held = 0

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> StoredRecording:
        raise AssertionError("whoever draws signals only fetches recordings")

    @asynccontextmanager
    async def fetched(self, key: str) -> AsyncIterator[Path]:
        self.fetches += 1
        self.held += 1
        try:
            yield Path(key)
        finally:
            self.held -= 1

    async def move(self, key: str, to: str) -> None:
        raise AssertionError("whoever draws signals only fetches recordings")

    async def delete(self, key: str) -> None:
        raise AssertionError("whoever draws signals only fetches recordings")

    async def stored_at(self, key: str) -> datetime | None:
        raise AssertionError("whoever draws signals only fetches recordings")

    async def stored_before(self, moment: datetime, *, folder: str, limit: int, after: str = "") -> Sequence[str]:
        raise AssertionError("whoever draws signals only fetches recordings")


class GatedWorkers(Workers):
    """Works in this process, once the gate is open; what comes back is pickled as by real ones."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.runs = 0
        self.bytes_back = 0

    async def run(self, file_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self.runs += 1
        await self.gate.wait()
        answer = pickle.dumps(function(*args, **kwargs))
        self.bytes_back = len(answer)
        result: T = pickle.loads(answer)
        return result


class Surroundings:
    """A service with everything around it."""

    def __init__(self, **choices: Any) -> None:
        self.repository = MemorySessionAnalyticsRepository()
        self.store, self.workers, self.reader = CountedStore(), GatedWorkers(), OneReader()
        self.previews = MemorySignalPreviews()
        self.session = some_session(recording_key="a.c3d")
        self.service = SessionSignals(
            repository=self.repository,
            store=self.store,
            workers=self.workers,
            reader=self.reader,
            reducer=MinMaxReducer(),
            previews=self.previews,
            shared=Flights[str, SignalPreview](PREVIEW_S_MAX),
            **choices,
        )

    async def analysed(self) -> None:
        unusable = replace(
            some_channel("CH2"), envelope=EnvelopeStatistics(None, None, None, None), problems=("has samples that are no numbers",)
        )
        made = some_analytics(
            self.session.session_id, recording=facts(SAMPLES), channels=(some_channel("CH1"), unusable, some_channel("CH3"))
        )
        await self.repository.save(made)

    async def plan(self, **wishes: Any) -> SignalPlan:
        plan = await self.service.plan(self.session, SignalRequest(**wishes))
        assert plan is not None
        return plan

    @property
    def touched(self) -> tuple[int, int, int]:
        return self.store.fetches, self.workers.runs, self.reader.reads


@pytest.fixture
async def around() -> Surroundings:
    made = Surroundings()
    await made.analysed()
    return made


@pytest.mark.parametrize(
    ("wishes", "error"),
    [
        ({"channel": "CH9"}, UnknownChannel),
        ({"start_s": 1e9}, InvalidSignalRequest),
        ({"start_s": 3.0, "end_s": 2.0}, InvalidSignalRequest),
        ({"points": 10**9}, InvalidSignalRequest),
        ({"kinds": ()}, InvalidSignalRequest),
    ],
)
async def test_what_cannot_be_answered_opens_no_file(around: Surroundings, wishes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await around.service.plan(around.session, SignalRequest(**wishes))
    assert around.touched == (0, 0, 0)


async def test_what_can_be_answered_is_planned_without_opening_a_file_too(around: Surroundings) -> None:
    await around.plan()
    assert around.touched == (0, 0, 0)


async def test_a_session_that_was_not_analysed_has_no_plan(around: Surroundings) -> None:
    assert await around.service.plan(some_session(), SignalRequest()) is None


async def test_signals_are_those_of_the_recording_and_peaks_are_kept(around: Surroundings) -> None:
    plan = await around.plan(kinds=tuple(SignalKind), points=500)
    answer = await around.service.answer(around.session, plan)
    assert answer.source == "made"
    signals = {(signal.channel, signal.kind): signal for signal in answer.preview.signals}
    assert list(signals) == [(channel, kind) for channel in ("CH1", "CH2", "CH3") for kind in SignalKind]
    parameters = plan.parameters
    expected: dict[tuple[str, SignalKind], Signal] = {
        ("CH1", SignalKind.RAW): RAW,
        ("CH1", SignalKind.ACTIVATED): ACTIVATED,
        ("CH1", SignalKind.ENVELOPE): envelope_as_analysed(RAW, FS, parameters),
        ("CH3", SignalKind.RAW): RAW * 2,
        ("CH3", SignalKind.ENVELOPE): envelope_as_analysed(RAW * 2, FS, parameters),
    }
    for place, whole in expected.items():
        signal = signals[place]
        assert signal.missing is None
        assert 400 < len(signal.samples) <= 500
        assert signal.values.tolist() == whole[signal.samples].astype(np.float32).tolist()
        assert signal.values.max() == np.float32(whole.max())
        assert signal.values.min() == np.float32(whole.min())
    assert signals["CH2", SignalKind.ENVELOPE].missing == "the channel has samples that are no numbers"
    assert signals["CH3", SignalKind.ACTIVATED].missing == "the recording has no activated signal of this channel"
    assert all(len(signals[place].samples) == 0 for place in signals if signals[place].missing)


async def test_the_envelope_of_a_window_is_a_part_of_the_envelope_of_the_whole(around: Surroundings) -> None:
    plan = await around.plan(channel="CH1", kinds=(SignalKind.ENVELOPE,), start_s=7.0, end_s=8.0)
    (signal,) = (await around.service.answer(around.session, plan)).preview.signals
    assert signal.samples.tolist() == list(range(6930, 7920))
    assert signal.values.tolist() == envelope_as_analysed(RAW, FS, plan.parameters)[6930:7920].astype(np.float32).tolist()


async def test_only_points_leave_the_worker(around: Surroundings) -> None:
    await around.service.answer(around.session, await around.plan(channel="CH1", points=500))
    assert around.workers.bytes_back < 500 * 8 + 2_000


async def test_a_preview_that_is_remembered_touches_nothing(around: Surroundings) -> None:
    plan = await around.plan()
    made = await around.service.answer(around.session, plan)
    again = await around.service.answer(around.session, plan)
    assert (again.source, again.preview) == ("remembered", made.preview)
    assert around.touched == (1, 1, 1)


async def test_equal_requests_at_the_same_time_are_one_piece_of_work(around: Surroundings) -> None:
    around.workers.gate.clear()
    plan = await around.plan()
    asking = [asyncio.create_task(around.service.answer(around.session, plan)) for _ in range(50)]
    other = asyncio.create_task(around.service.answer(around.session, await around.plan(points=10)))
    await asyncio.sleep(0.01)
    asking[7].cancel()  # Whoever goes takes nobody along.
    around.workers.gate.set()
    answers = await asyncio.gather(*(task for task in asking if task is not asking[7]), other)
    assert around.touched == (2, 2, 2)
    assert sorted({answer.source for answer in answers[:-1]}) == ["joined", "made"]
    assert len({id(answer.preview) for answer in answers[:-1]}) == 1


async def test_when_the_last_one_goes_the_work_ends_and_the_file_is_let_go(around: Surroundings) -> None:
    around.workers.gate.clear()
    asking = asyncio.create_task(around.service.answer(around.session, await around.plan()))
    await asyncio.sleep(0.01)
    assert around.store.held == 1
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0.01)
    assert around.store.held == 0


async def test_too_much_at_once_is_refused_at_once_and_later_done() -> None:
    around = Surroundings(waiting_max=3)
    await around.analysed()
    around.workers.gate.clear()
    plans = [await around.plan(points=10 + number) for number in range(4)]
    asking = [asyncio.create_task(around.service.answer(around.session, plan)) for plan in plans[:3]]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded, match="3 signals"):
        await around.service.answer(around.session, plans[3])
    around.workers.gate.set()
    await asyncio.gather(*asking)
    assert (await around.service.answer(around.session, plans[3])).source == "made"


async def test_work_that_does_not_end_is_given_up(around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_signals, "PREVIEW_S_MAX", 0.02)
    around.workers.gate.clear()
    with pytest.raises(Overloaded, match=r"0\.02 s"):
        await around.service.answer(around.session, await around.plan())
    assert around.store.held == 0


async def test_a_recording_that_was_not_kept_is_not_found(around: Surroundings) -> None:
    session: TherapySession = replace(around.session, recording_key=None)
    with pytest.raises(RecordingNotFound, match="not kept; upload the same file") as error:
        await around.service.answer(session, await around.plan())
    assert "cannot be shown" not in str(error.value), "the page says that"
    assert around.touched == (0, 0, 0)


async def test_another_recording_in_its_place_is_not_shown(around: Surroundings) -> None:
    plan = replace(await around.plan(), recording_sha256="0" * 64)
    with pytest.raises(StoredDataInvalid, match="not the one that was analysed"):
        await around.service.answer(around.session, plan)
    assert await around.previews.find(around.session.session_id, plan.key) is None


async def test_a_recording_that_has_become_unreadable_is_the_stores_fault(around: Surroundings) -> None:
    with pytest.raises(StoredDataInvalid, match="truncated"):
        await around.service.answer(replace(around.session, recording_key="damaged.c3d"), await around.plan())


async def test_a_recording_that_is_erased_while_it_is_read_is_not_found(around: Surroundings) -> None:
    @asynccontextmanager
    async def fetched_once(key: str) -> AsyncIterator[Path]:
        around.store.fetches += 1
        if around.store.fetches > 1:
            raise RecordingNotFound(key)
        yield Path(key)

    around.store.fetched = fetched_once  # type: ignore[method-assign]
    with pytest.raises(RecordingNotFound):
        await around.service.answer(replace(around.session, recording_key="damaged.c3d"), await around.plan())


async def test_a_worker_that_dies_is_told_to_everybody_and_nothing_is_remembered(around: Surroundings) -> None:
    async def dies(*_: Any, **__: Any) -> Any:
        raise AnalysisFailed("a.c3d", "its process died")

    around.workers.run = dies  # type: ignore[method-assign]
    plan = await around.plan()
    answers = await asyncio.gather(*(around.service.answer(around.session, plan) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [AnalysisFailed] * 3
    assert await around.previews.find(around.session.session_id, plan.key) is None


async def test_an_erasure_while_a_preview_is_made_is_not_undone_by_it(around: Surroundings) -> None:
    around.workers.gate.clear()
    plan = await around.plan()
    asking = asyncio.create_task(around.service.answer(around.session, plan))
    await asyncio.sleep(0.01)
    await around.previews.erase(around.session.session_id)
    around.workers.gate.set()
    assert (await asking).source == "made"
    assert await around.previews.find(around.session.session_id, plan.key) is None
