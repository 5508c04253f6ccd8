"""The composition root, and the processor that it composes: with real adapters in every combination."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import container
from adapters.c3d.synthesis import synthesise
from adapters.memory import MemorySessionRegistry
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.settings import Settings, load_settings
from adapters.workers import ProcessWorkers
from container import resolve, running
from domain.analytics import AnalysisParameters
from domain.errors import AnalysisFailed, InvalidRecording, InvalidSettings, StorageError
from domain.ports import SessionAnalyticsRepository, SessionRegistry
from domain.session import session_id_of
from services.therapy_session_processor import TherapySessionProcessor
from tests.integration.readers import DifficultReader
from tests.patience import eventually
from tests.recordings import FolderStore
from tests.strategies import edition, new_id, some_analytics

UNREACHABLE = {"database_url": "postgresql://u:p@127.0.0.1:1/d", "redis_url": "redis://127.0.0.1:1/0"}
COMBINATIONS = pytest.mark.parametrize(("storage", "cache"), [(s, c) for s in ("postgres", "memory") for c in ("redis", "none")])


@pytest.fixture
def settings(engine: AsyncEngine, database_url: str, redis_url: str, redis_prefix: str, tmp_path: Path) -> Settings:
    return load_settings(
        database_url=database_url,
        redis_url=redis_url,
        redis_key_prefix=redis_prefix,
        data_dir=tmp_path / "never_made",
        analysis_processes=2,
        redis_command_timeout_ms=2000,
        redis_connect_timeout_ms=2000,
        channels="",
        mvc_threshold_percent=75.0,
        duration_threshold_ms=2000.0,
        default_cache_ttl_hours=24.0,
    )


@COMBINATIONS
async def test_every_combination_works(settings: Settings, storage: str, cache: str) -> None:
    chosen = settings.model_copy(update={"storage": storage, "cache": cache})
    async with running(chosen) as app:
        repository: SessionAnalyticsRepository = await resolve(app.session_analytics)
        assert isinstance(repository, RedisCachedSessionAnalyticsRepository) == (cache == "redis")
        analytics = some_analytics()
        assert (await repository.save(analytics)).fresh
        for source in ({"redis", "near"} if cache == "redis" else {storage},):
            answer = await repository.get(analytics.session_id)
            assert answer is not None
            assert answer.source in source
            assert answer.analytics == analytics
        assert await repository.delete(analytics.session_id) is not None
        registry: SessionRegistry = await resolve(app.session_registry)
        assert await registry.find(new_id()) is None
        assert await resolve(app.session_analytics) is repository
        processor: TherapySessionProcessor = await resolve(app.therapy_session_processor)
        assert await resolve(app.therapy_session_processor) is processor
    assert settings.data_dir is not None
    assert [path.name for path in settings.data_dir.iterdir()] == ["recordings"]  # Nothing embedded was started.


@COMBINATIONS
async def test_only_what_is_chosen_is_touched(settings: Settings, storage: str, cache: str) -> None:
    """What is not chosen may be unreachable, and what is chosen is noticed to be."""
    unused = {}
    if storage == "memory":
        unused["database_url"] = UNREACHABLE["database_url"]
    if cache == "none":
        unused["redis_url"] = UNREACHABLE["redis_url"]
    before = asyncio.all_tasks()
    async with running(load_settings(**{**given(settings), "storage": storage, "cache": cache, **unused})) as app:
        repository: SessionAnalyticsRepository = await resolve(app.session_analytics)
        analytics = some_analytics()
        assert (await repository.save(analytics)).fresh
        assert (await repository.get(analytics.session_id)) is not None
    assert asyncio.all_tasks() == before


def given(settings: Settings) -> dict[str, Any]:
    """The settings as they were given."""
    return {name: getattr(settings, name) for name in Settings.model_fields if name not in {"channels"}}


async def test_memory_without_a_cache_opens_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        original = getattr(container, name)

        def open_it(*given: Any, **more: Any) -> Any:
            opened.append(name)
            return original(*given, **more)

        return open_it

    for name in ("create_engine", "cached", "EmbeddedPostgres", "EmbeddedValkey", "ProcessWorkers"):
        monkeypatch.setattr(container, name, noting(name))
    async with running(load_settings(storage="memory", cache="none", data_dir=tmp_path / "data", **UNREACHABLE)) as app:
        repository: SessionAnalyticsRepository = await resolve(app.session_analytics)
        registry: SessionRegistry = await resolve(app.session_registry)
        analytics = some_analytics()
        await repository.save(analytics)
        assert await repository.get(analytics.session_id) is not None
        assert await registry.find(analytics.session_id) is None
    assert opened == []
    assert not (tmp_path / "data").exists()


async def test_a_container_of_which_nothing_is_asked_opens_and_closes() -> None:
    async with running(load_settings(**UNREACHABLE)):
        pass


async def test_what_depends_on_another_closes_before_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    def note(owner: Any, method: str, name: str) -> None:
        original = getattr(owner, method)

        async def noting(self: Any, *args: Any, **more: Any) -> Any:
            closed.append(name)
            return await original(self, *args, **more)

        monkeypatch.setattr(owner, method, noting)

    note(RedisCachedSessionAnalyticsRepository, "aclose", "cache")
    note(AsyncEngine, "dispose", "engine")
    async with running(settings) as app:
        await resolve(app.therapy_session_processor)
    assert closed == ["cache", "engine"]


async def test_all_closes_also_when_the_work_inside_fails(settings: Settings) -> None:
    before = asyncio.all_tasks()

    async def fail() -> None:
        async with running(settings) as app:
            await resolve(app.session_analytics)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert asyncio.all_tasks() == before


async def test_an_unreachable_database_is_an_error_when_it_is_used_and_not_before(settings: Settings) -> None:
    async with running(settings.model_copy(update={"database_url": load_settings(**UNREACHABLE).database_url})) as app:
        repository: SessionAnalyticsRepository = await resolve(app.session_analytics)
        with pytest.raises(StorageError, match="DATABASE_URL"):
            await repository.get(new_id())


async def test_an_unreachable_redis_is_no_error(settings: Settings) -> None:
    async with running(settings.model_copy(update={"redis_url": load_settings(**UNREACHABLE).redis_url})) as app:
        repository: SessionAnalyticsRepository = await resolve(app.session_analytics)
        analytics = some_analytics()
        receipt = await repository.save(analytics)
        assert not receipt.fresh
        answer = await repository.get(analytics.session_id)
        assert answer is not None
        assert answer.source == "postgres"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"redis_key_prefix": "{x}"}, "REDIS_KEY_PREFIX"),
        ({"redis_url": "http://hunter2"}, "REDIS_URL"),
        ({"database_url": "mysql://u:hunter2@h/d"}, "DATABASE_URL"),
        ({"database_url": "hunter2"}, "DATABASE_URL"),
        ({"default_cache_ttl_hours": 0.0001}, "DEFAULT_CACHE_TTL_HOURS"),
        ({"default_cache_ttl_hours": 0.01}, "CACHE_ABSENT_TTL_S"),
        ({"cache_staleness_bound_s": 0.1}, "CACHE_STALENESS_BOUND_S"),
        ({"redis_connect_timeout_ms": 1.0}, "REDIS_CONNECT_TIMEOUT_MS"),
    ],
)
async def test_a_setting_that_cannot_work_fails_at_the_start_and_is_named(settings: Settings, changes: dict[str, Any], named: str) -> None:
    async with running(load_settings(**{**given(settings), **changes})) as app:
        with pytest.raises(InvalidSettings, match=named) as caught:
            await resolve(app.session_analytics)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["storage", "cache"])
def test_a_wrong_adapter_is_named_with_its_setting(name: str) -> None:
    with pytest.raises(InvalidSettings, match=f"^{name.upper()}: .*'mongodb'"):
        load_settings(**{name: "mongodb"})


async def test_settings_reach_what_they_are_for(settings: Settings) -> None:
    chosen = load_settings(
        **{
            **given(settings),
            "default_cache_ttl_hours": 2,
            "cache_staleness_bound_s": 5,
            "enable_redis_compression": False,
            "redis_command_timeout_ms": 300,
            "redis_connections_max": 3,
            "database_statement_timeout_s": 7,
            "mvc_threshold_percent": 60,
            "duration_threshold_ms": 0,
            "channels": "CH*",
        }
    )
    policy = container.cache_policy(chosen)
    assert (policy.ttl_s, policy.heartbeat_s, policy.codec, policy.command_s, policy.connections_max) == (7200, 5, "none", 0.3, 3)
    assert container.postgres_policy(chosen).statement_s == 7
    parameters = container.analysis_parameters(chosen)
    assert (parameters.mvc_threshold_percent, parameters.duration_threshold_ms, parameters.channels) == (60, None, ("CH*",))


# The processor


@pytest.fixture(scope="module")
async def workers() -> AsyncIterator[ProcessWorkers]:
    """Two processes, with ten seconds a recording."""
    workers = ProcessWorkers(processes=2, timeout_s=30.0)
    yield workers
    await workers.aclose()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short recording."""
    return synthesise(tmp_path_factory.mktemp("recordings") / "session.c3d", seed=1, duration_s=10.0).path


def another(recording: Path, path: Path) -> Path:
    """A recording of other bytes."""
    path.write_bytes(recording.read_bytes() + os.urandom(16))
    return path


class Practice:
    """A processor with its parts at hand."""

    def __init__(self, repository: SessionAnalyticsRepository, registry: SessionRegistry, workers: ProcessWorkers, notes: Path) -> None:
        self.repository = repository
        self.registry = registry
        self.reader = DifficultReader(notes)
        self.workers = workers
        self.processor = self.with_parameters(AnalysisParameters())

    def with_parameters(self, parameters: AnalysisParameters) -> TherapySessionProcessor:
        return TherapySessionProcessor(
            reader=self.reader,
            workers=self.workers,
            repository=self.repository,
            registry=self.registry,
            store=FolderStore(self.reader.notes.parent),
            parameters=parameters,
        )


@pytest.fixture(params=["memory", "redis over postgres"])
async def practice(
    request: pytest.FixtureRequest, settings: Settings, workers: ProcessWorkers, tmp_path: Path, recording: Path
) -> AsyncIterator[Practice]:
    memory = request.param == "memory"
    chosen = settings.model_copy(update={"storage": "memory" if memory else "postgres", "cache": "none" if memory else "redis"})
    async with running(chosen) as app:
        repository: SessionAnalyticsRepository = await resolve(app.session_analytics)
        registry: SessionRegistry = await resolve(app.session_registry)
        await repository.delete(session_id_of(DifficultReader(tmp_path).digest(recording)))  # Of another test.
        yield Practice(repository, registry, workers, tmp_path / "notes")


async def test_the_same_bytes_are_one_session_however_often_and_wherever_they_are_processed(
    practice: Practice, recording: Path, tmp_path: Path
) -> None:
    first = await practice.processor.process(recording)
    copy = tmp_path / "another name.c3d"
    shutil.copy(recording, copy)
    again, elsewhere = await practice.processor.process(recording), await practice.processor.process(copy)
    assert (first.new, again.new, elsewhere.new) == (True, False, False)
    assert first.session_id == again.session_id == elsewhere.session_id
    assert first.version == again.version == elsewhere.version
    assert first.analytics == again.analytics == elsewhere.analytics
    assert [name for name, _ in practice.reader.noted()] == ["session.c3d"]
    stored = await practice.repository.get(first.session_id)
    assert stored is not None
    assert stored.analytics == first.analytics


async def test_the_same_bytes_at_the_same_time_are_one_session(practice: Practice, recording: Path) -> None:
    results = await asyncio.gather(*(practice.processor.process(recording) for _ in range(4)))
    assert len({(result.session_id, result.version) for result in results}) == 1
    assert sum(result.new for result in results) == 1
    stored = await practice.repository.get(results[0].session_id)
    assert stored is not None
    assert stored.version == results[0].version


async def test_a_processed_session_is_registered_with_its_facts(practice: Practice, recording: Path) -> None:
    result = await practice.processor.process(recording)
    known = await practice.registry.find(result.session_id)
    facts = result.analytics.recording
    assert known is not None
    assert facts.size_bytes == await asyncio.to_thread(lambda: recording.stat().st_size)
    assert (known.recording_sha256, known.size_bytes, known.recorded_at) == (facts.sha256, facts.size_bytes, facts.recorded_at)
    await practice.processor.process(recording)
    assert await practice.registry.find(result.session_id) == known


async def test_a_session_whose_registration_was_lost_is_registered_when_it_is_processed_again(practice: Practice, recording: Path) -> None:
    result = await practice.with_parameters(AnalysisParameters()).process(recording)
    lost = Practice(practice.repository, MemorySessionRegistry(), practice.workers, practice.reader.notes)
    assert not (await lost.processor.process(recording)).new
    assert await lost.registry.find(result.session_id) is not None


async def test_other_parameters_are_another_analysis_of_the_same_session(practice: Practice, recording: Path) -> None:
    first = await practice.processor.process(recording)
    other = await practice.with_parameters(AnalysisParameters(mvc_threshold_percent=50.0)).process(recording)
    assert (other.session_id, other.new) == (first.session_id, True)
    assert other.version == first.version + 1
    stored = await practice.repository.get(first.session_id)
    assert stored is not None
    assert stored.analytics.parameters.mvc_threshold_percent == 50.0


async def test_a_recording_that_cannot_be_analysed_leaves_nothing(practice: Practice, tmp_path: Path) -> None:
    broken = another(Path(__file__), tmp_path / "broken.c3d")
    with pytest.raises(InvalidRecording, match=r"broken\.c3d") as caught:
        await practice.processor.process(broken)
    assert caught.value.reason
    session_id = session_id_of(practice.reader.digest(broken))
    assert await practice.repository.get(session_id) is None
    assert await practice.registry.find(session_id) is None


async def test_a_recording_that_is_not_there_is_named(practice: Practice, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecording, match=r"missing\.c3d"):
        await practice.processor.process(tmp_path / "missing.c3d")


@pytest.mark.parametrize("how", ["exits", "is_killed"])
async def test_a_worker_that_dies_fails_its_own_recording_only(practice: Practice, recording: Path, tmp_path: Path, how: str) -> None:
    deadly = another(recording, tmp_path / f"{how}.c3d")
    results = await asyncio.gather(practice.processor.process(deadly), practice.processor.process(recording), return_exceptions=True)
    assert isinstance(results[0], AnalysisFailed)
    assert deadly.name in str(results[0])
    assert not isinstance(results[1], BaseException)
    assert results[1].new
    assert await practice.repository.get(session_id_of(practice.reader.digest(deadly))) is None
    assert not (await practice.processor.process(recording)).new


async def test_a_worker_that_hangs_is_ended_within_its_limit(practice: Practice, recording: Path, tmp_path: Path) -> None:
    hanging = another(recording, tmp_path / "hangs.c3d")
    impatient = ProcessWorkers(processes=1, timeout_s=0.5)
    try:
        limited = Practice(practice.repository, practice.registry, impatient, practice.reader.notes)
        with pytest.raises(AnalysisFailed, match="ANALYSIS_TIMEOUT_S"):
            await limited.processor.process(hanging)
        [(_, pid)] = practice.reader.noted()
        assert not alive(pid)
        assert await practice.repository.get(session_id_of(practice.reader.digest(hanging))) is None
    finally:
        await impatient.aclose()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_bug_in_a_reader_is_not_hidden(practice: Practice, recording: Path, tmp_path: Path) -> None:
    buggy = another(recording, tmp_path / "raises.c3d")
    with pytest.raises(RuntimeError, match="the reader has a bug"):
        await practice.processor.process(buggy)


async def test_a_cancelled_processing_stores_nothing_and_ends_its_work(practice: Practice, recording: Path, tmp_path: Path) -> None:
    hanging = another(recording, tmp_path / "hangs.c3d")
    processing = asyncio.create_task(practice.processor.process(hanging))

    async def noted() -> list[tuple[str, int]]:
        return practice.reader.noted()

    await eventually(noted, bool)
    processing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await processing
    [(_, pid)] = practice.reader.noted()
    await eventually(lambda: asyncio.to_thread(alive, pid), lambda lives: not lives)
    assert (await practice.processor.process(recording)).new


async def test_reading_and_analysing_happen_in_other_processes(practice: Practice, recording: Path, tmp_path: Path) -> None:
    """Hence the event loop goes on meanwhile; benchmarks/loop_stall.py measures it."""
    long = synthesise(tmp_path / "long.c3d", seed=2, duration_s=30.0).path
    await practice.processor.process(long)
    [(_, pid)] = practice.reader.noted()
    assert pid != os.getpid()


async def test_analytics_saved_by_hand_are_analysed_anew_if_their_parameters_differ(practice: Practice, recording: Path) -> None:
    session_id = session_id_of(practice.reader.digest(recording))
    await practice.repository.save(replace(edition(session_id, 3), parameters=AnalysisParameters(window_length_s=9.0)))
    result = await practice.processor.process(recording)
    assert result.new
    assert result.analytics.parameters == AnalysisParameters()


STARTING = """
import asyncio, os, time
from adapters.workers import ProcessWorkers

async def main():
    workers, longest_s, begin = ProcessWorkers(processes=1, timeout_s=60.0), 0.0, time.perf_counter()
    work = asyncio.create_task(workers.run("first", os.getpid))
    while not work.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest_s = max(longest_s, time.perf_counter() - before)
    print(longest_s / (time.perf_counter() - begin))
    await workers.aclose()

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_the_event_loop_goes_on_while_the_first_worker_starts(tmp_path: Path) -> None:
    """A program of its own, in which nothing has started yet. Starting takes a second; the loop must not spend most of it waiting."""
    program = tmp_path / "starting.py"
    program.write_text(STARTING, "utf-8")
    root = Path(container.__file__).parent
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert float(told) < 0.5
