"""What processes recordings, over memory and over PostgreSQL, with nothing between a test and its parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.c3d.reader import C3dRecordingReader
from adapters.c3d.synthesis import synthesise
from adapters.memory import MemoryProcessingQueue, MemorySessionAnalyticsRepository, MemorySessionRegistry, MemorySignalPreviews
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.postgres.submissions import PostgresSubmissions
from adapters.queue.connections import QueueConnections
from adapters.queue.jobs import ProcrastinateProcessingQueue
from domain.analytics import AnalysisParameters
from domain.ports import ProcessingQueue, SessionAnalyticsRepository, SessionRegistry, Workers
from domain.session import SessionId, TherapySession
from services.recording_intake import RecordingIntake
from services.session_erasure import SessionErasure
from services.therapy_session_processor import TherapySessionProcessor
from tests.recordings import FolderStore
from tests.stores import fresh_engine, queue_connections

__all__ = ["fresh_engine", "queue_connections"]

P = ParamSpec("P")
T = TypeVar("T")


class OwnWorkers(Workers):
    """Runs the work here, between two hooks of the test's, and notes it."""

    def __init__(self) -> None:
        self.file_names: list[str] = []
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None

    async def run(self, file_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self.file_names.append(file_name)
        await _awaited(self.before())
        answer = function(*args, **kwargs)
        await _awaited(self.after())
        return answer


async def _awaited(value: object) -> None:
    if hasattr(value, "__await__"):
        await value


@dataclass
class House:
    """The parts."""

    repository: SessionAnalyticsRepository
    registry: SessionRegistry
    queue: ProcessingQueue
    store: FolderStore
    workers: OwnWorkers = field(default_factory=OwnWorkers)

    @property
    def intake(self) -> RecordingIntake:
        return RecordingIntake(store=self.store, registry=self.registry, queue=self.queue)

    @property
    def erasure(self) -> SessionErasure:
        return SessionErasure(repository=self.repository, registry=self.registry, store=self.store, previews=MemorySignalPreviews())

    @property
    def processor(self) -> TherapySessionProcessor:
        return TherapySessionProcessor(
            reader=C3dRecordingReader(),
            workers=self.workers,
            repository=self.repository,
            registry=self.registry,
            store=self.store,
            parameters=AnalysisParameters(),
        )

    async def session(self, session_id: SessionId) -> TherapySession:
        session = await self.registry.find(session_id)
        assert session is not None
        return session


@pytest.fixture(params=["memory", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """Each truth, and a folder."""
    store = FolderStore(tmp_path)
    if request.param == "memory":
        registry = MemorySessionRegistry()
        return House(MemorySessionAnalyticsRepository(), registry, MemoryProcessingQueue(registry), store)
    fresh_engine: AsyncEngine = request.getfixturevalue("fresh_engine")
    _: QueueConnections = request.getfixturevalue("queue_connections")
    return House(
        PostgresSessionAnalyticsRepository(fresh_engine),
        PostgresSessionRegistry(fresh_engine),
        ProcrastinateProcessingQueue(PostgresSubmissions(fresh_engine)),
        store,
    )


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A short recording."""
    return synthesise(tmp_path_factory.mktemp("recordings") / "session.c3d", seed=1, duration_s=10.0).path.read_bytes()


@pytest.fixture
def other_recordings(recording: bytes) -> Callable[[], bytes]:
    """Recordings of other bytes, as many as one likes."""
    return lambda: recording + os.urandom(16)
