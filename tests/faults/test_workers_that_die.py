"""Workers in processes of their own, killed, frozen and told to stop: every session is analysed, once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.c3d.synthesis import synthesise
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.postgres.submissions import PostgresSubmissions
from adapters.queue.connections import QueueConnections
from adapters.queue.jobs import ProcrastinateProcessingQueue
from domain.session import SessionId, SessionState, TherapySession
from services.recording_intake import RecordingIntake
from tests.patience import eventually
from tests.recordings import FolderStore, in_chunks
from tests.servers import server_folder
from tests.stores import fresh_engine, queue_connections

__all__ = ["fresh_engine", "queue_connections"]

pytestmark = pytest.mark.timeout(400)

_ROOT: Final = Path(__file__).parents[2]
_PATIENCE_S: Final = 120.0  # Each worker starts two interpreters, and on a busy machine that takes half a minute.
_STALLED_S: Final = 2


@dataclass
class Worker:
    """A worker in a process of its own, and where it writes."""

    process: Process
    log: Path

    async def says(self, words: str) -> None:
        """Waits until it has said so."""

        async def said() -> str:
            return self.log.read_text()

        await eventually(said, lambda text: words in text, within_s=_PATIENCE_S)

    async def ends(self) -> int:
        """How it ends."""
        async with asyncio.timeout(_PATIENCE_S):
            return await self.process.wait()


@dataclass
class Factory:
    """Workers, and what they work on."""

    engine: AsyncEngine
    folder: Path
    environment: dict[str, str]
    stack: AsyncExitStack
    workers: list[Worker] = field(default_factory=list)

    @property
    def registry(self) -> PostgresSessionRegistry:
        return PostgresSessionRegistry(self.engine)

    async def worker(self, **settings: object) -> Worker:
        """A worker, which is at work when this returns."""
        environment = {**self.environment, **{name.upper(): str(value) for name, value in settings.items()}}
        command = [sys.executable, "-c", "from tests.faults.working import main; main()", str(self.folder)]
        log = self.folder / f"worker {len(self.workers)}.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=_ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        self.stack.push_async_callback(_ended, process)
        worker = Worker(process, log)
        self.workers.append(worker)
        await worker.says("processing what is queued")
        return worker

    async def uploads(self, count: int) -> list[SessionId]:
        """Recordings of different bytes, which wait."""
        store = FolderStore(self.folder)
        queue = ProcrastinateProcessingQueue(PostgresSubmissions(self.engine))
        intake = RecordingIntake(store=store, registry=self.registry, queue=queue)
        made = await asyncio.to_thread(synthesise, self.folder / "made.c3d", seed=3, duration_s=10.0)
        body = made.path.read_bytes()
        received = [
            await intake.receive(in_chunks(body + os.urandom(16)), file_name=f"{number}.c3d", patient_code=None) for number in range(count)
        ]
        return [one.session.session_id for one in received]

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink()

    def reads(self) -> list[str]:
        """The names of the recordings that were read, once for each time."""
        return [line.split()[0] for line in self._notes()]

    def readers(self) -> set[int]:
        """The processes that read them."""
        return {int(line.split()[1]) for line in self._notes()}

    async def reading(self, count: int) -> None:
        """Waits until so many readings have begun."""

        async def begun() -> int:
            gone = [worker.log.read_text() for worker in self.workers if (worker.process.returncode or 0) > 0]
            assert gone == [], "a worker has ended"
            return len(self.reads())

        await eventually(begun, lambda number: number >= count, within_s=_PATIENCE_S)

    async def completed(self, session_ids: list[SessionId]) -> list[TherapySession]:
        """Waits until all are."""

        async def sessions() -> list[TherapySession]:
            found = [await self.registry.find(session_id) for session_id in session_ids]
            return [session for session in found if session is not None]

        return await eventually(sessions, lambda found: all(s.state is SessionState.COMPLETED for s in found), within_s=_PATIENCE_S)

    async def written(self, session_ids: list[SessionId]) -> dict[SessionId, int]:
        """How often the analytics of each were written, by the database's own count."""
        answers = await PostgresSessionAnalyticsRepository(self.engine).get_many(session_ids)
        return {session_id: answer.version for session_id, answer in answers.items()}

    async def jobs(self) -> list[tuple[Any, ...]]:
        async with self.engine.connect() as connection:
            return [
                tuple(row)
                for row in await connection.execute(sa.text("SELECT status::text FROM procrastinate_jobs WHERE queue_name = 'sessions'"))
            ]

    def _notes(self) -> list[str]:
        notes = self.folder / "reads"
        return notes.read_text().splitlines() if notes.exists() else []


async def _ended(process: Process) -> None:
    with suppress(ProcessLookupError):
        children = psutil.Process(process.pid).children(recursive=True) if process.returncode is None else []
        process.send_signal(signal.SIGCONT)
        process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    await process.wait()


@pytest.fixture
async def factory(
    fresh_engine: AsyncEngine, queue_connections: QueueConnections, redis_url: str, redis_prefix: str, tmp_path: Path
) -> AsyncIterator[Factory]:
    """A factory on a database of its own."""
    environment = {
        **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR"}},
        "DATABASE_URL": queue_connections.database_url,
        "REDIS_URL": redis_url,
        "REDIS_KEY_PREFIX": redis_prefix,
        "REDIS_COMMAND_TIMEOUT_MS": "2000",
        "REDIS_CONNECT_TIMEOUT_MS": "2000",
        "DATA_DIR": str(tmp_path),
        "ANALYSIS_PROCESSES": "1",
        "WORKER_CONCURRENCY": "1",
        "WORKER_STALLED_S": str(_STALLED_S),
        "PROCESSING_BACKOFF_S": "0.1",
        "PROCESSING_ATTEMPTS_MAX": "10",
        "LOG_LEVEL": "debug",
        "COLUMNS": "200",
    }
    async with AsyncExitStack() as stack:
        yield Factory(fresh_engine, tmp_path, environment, stack)


async def test_a_worker_that_is_killed_amid_an_analysis_is_replaced_and_the_session_completes_once(factory: Factory) -> None:
    factory.hold()
    session_ids = await factory.uploads(1)
    killed = await factory.worker()
    await factory.reading(1)
    other = await factory.worker()
    killed.process.kill()
    assert await killed.ends() == -signal.SIGKILL
    await factory.reading(2)
    factory.release()
    [session] = await factory.completed(session_ids)
    assert session.progress == 1.0
    assert await factory.written(session_ids) == dict.fromkeys(session_ids, 1)
    assert factory.reads() == ["0.c3d", "0.c3d"]
    await eventually(factory.jobs, lambda jobs: jobs == [("succeeded",)], within_s=_PATIENCE_S)
    assert other.process.returncode is None


async def test_a_killed_worker_leaves_nothing_of_a_recording_in_the_temporary_folder(factory: Factory) -> None:
    factory.hold()
    session_ids = await factory.uploads(1)
    with server_folder() as temporary:  # A short path: there will be sockets.
        worker = await factory.worker(tmpdir=temporary)
        await factory.reading(1)
        worker.process.kill()
        assert await worker.ends() == -signal.SIGKILL
        assert [left.name for left in temporary.rglob("*") if left.suffix == ".c3d"] == []
    factory.release()
    await factory.worker()
    [session] = await factory.completed(session_ids)
    assert session.file_name == "0.c3d"


async def test_the_processes_of_a_killed_worker_end_too(factory: Factory) -> None:
    factory.hold()
    await factory.uploads(1)
    worker = await factory.worker()
    await factory.reading(1)
    family = psutil.Process(worker.process.pid).children(recursive=True)
    assert factory.readers() <= {child.pid for child in family}
    worker.process.kill()
    factory.release()  # Whoever reads ends what it is at, and finds nobody to tell.

    async def alive() -> list[psutil.Process]:
        return [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    await eventually(alive, lambda left: not left, within_s=_PATIENCE_S)


async def test_whenever_workers_are_killed_all_sessions_complete_once(factory: Factory) -> None:
    """The moments are random, and the same in each run."""
    moments = random.Random(4)
    session_ids = await factory.uploads(5)
    workers = [await factory.worker(), await factory.worker()]
    for _ in range(3):
        await asyncio.sleep(moments.uniform(0.0, 1.5))
        victim = workers.pop(moments.randrange(len(workers)))
        victim.process.kill()
        workers.append(await factory.worker())
    sessions = await factory.completed(session_ids)
    assert {session.state for session in sessions} == {SessionState.COMPLETED}
    assert await factory.written(session_ids) == dict.fromkeys(session_ids, 1)
    assert set(factory.reads()) == {f"{number}.c3d" for number in range(5)}


async def test_a_worker_that_was_frozen_does_not_spoil_what_another_did_meanwhile(factory: Factory) -> None:
    factory.hold()
    session_ids = await factory.uploads(1)
    frozen = await factory.worker()
    await factory.reading(1)
    frozen.process.send_signal(signal.SIGSTOP)
    await factory.worker()
    await factory.reading(2)
    factory.release()
    [before] = await factory.completed(session_ids)
    frozen.process.send_signal(signal.SIGCONT)
    later = await factory.uploads(3)  # It goes on working, as itself or begun anew.
    await factory.completed(later)
    assert await factory.registry.find(session_ids[0]) == before
    assert await factory.written(session_ids) == dict.fromkeys(session_ids, 1)
    await eventually(factory.jobs, lambda jobs: jobs == [("succeeded",)] * 4, within_s=_PATIENCE_S)
    assert frozen.process.returncode is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("tell", [os.kill, os.killpg], ids=["itself", "all its processes"])
async def test_a_worker_that_is_told_to_stop_ends_what_runs_and_takes_nothing_new(
    factory: Factory, number: signal.Signals, tell: Callable[[int, int], None]
) -> None:
    """Terminals and some supervisors tell every process that belongs to it, the analyses too."""
    factory.hold()
    session_ids = await factory.uploads(2)
    worker = await factory.worker()
    await factory.reading(1)
    tell(worker.process.pid, number)
    await worker.says("ending what runs")
    factory.release()
    assert await worker.ends() == 0
    sessions = [await factory.registry.find(session_id) for session_id in session_ids]
    assert [session.state for session in sessions if session is not None] == [SessionState.COMPLETED, SessionState.RECEIVED]
    assert len(factory.reads()) == 1
    await factory.worker()
    await factory.completed(session_ids)
    assert len(factory.reads()) == 2


async def test_a_worker_that_is_told_twice_ends_at_once_and_loses_nothing(factory: Factory) -> None:
    factory.hold()
    session_ids = await factory.uploads(1)
    worker = await factory.worker()
    await factory.reading(1)
    worker.process.send_signal(signal.SIGTERM)
    await worker.says("ending what runs")
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ends() == 130
    assert await factory.jobs() == [("todo",)]
    factory.release()
    await factory.worker()
    await factory.completed(session_ids)
    assert await factory.written(session_ids) == dict.fromkeys(session_ids, 1)


async def test_what_does_not_end_within_the_drain_is_given_back(factory: Factory) -> None:
    factory.hold()
    session_ids = await factory.uploads(1)
    worker = await factory.worker(worker_drain_s=0.2)
    await factory.reading(1)
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ends() == 0
    assert await factory.jobs() == [("todo",)]
    factory.release()
    await factory.worker()
    await factory.completed(session_ids)


async def test_several_workers_share_the_load(factory: Factory) -> None:
    factory.hold()
    session_ids = await factory.uploads(3)
    for _ in range(3):
        await factory.worker()
    await factory.reading(3)  # Each holds one.
    factory.release()
    await factory.completed(session_ids)
    assert sorted(factory.reads()) == ["0.c3d", "1.c3d", "2.c3d"]
    assert len(factory.readers()) == 3


async def test_a_worker_removes_what_killed_uploads_have_left(factory: Factory) -> None:
    store, key = FolderStore(factory.folder), f"uploads/{'a' * 64}.c3d"
    await store.keep(key, b"content")
    os.utime(store.folder / key, (0, 0))
    [session_id] = await factory.uploads(1)
    await factory.worker()

    async def left() -> set[str]:
        return store.left()

    await eventually(left, lambda keys: key not in keys, within_s=_PATIENCE_S)
    await factory.completed([session_id])
    assert len(store.left()) == 1
