"""Every adapter that claims to keep a port's promises. To add one: a branch here, and nothing in the tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.chaos import Chaos, ChaosSessionAnalyticsRepository
from adapters.memory import (
    MemoryPatientAssignments,
    MemoryProcessingQueue,
    MemoryProcessingWorker,
    MemorySessionAnalyticsRepository,
    MemorySessionRegistry,
    MemorySignalPreviews,
)
from adapters.postgres.patient_assignments import PostgresPatientAssignments
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.postgres.submissions import PostgresSubmissions
from adapters.queue.connections import QueueConnections
from adapters.queue.jobs import ProcrastinateProcessingQueue
from adapters.queue.worker import ProcrastinateWorker
from adapters.recordings import ObstoreRecordingStore, RecordingPolicy, S3Access, memory_place, place_at
from adapters.recordings.places import Place
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.previews import PreviewPolicy, redis_previews
from domain.ports import PatientAssignments, ProcessingWorker, SessionAnalyticsRepository, SessionRegistry, SignalPreviews
from domain.processing import ProcessingPolicy
from tests.contracts.processing import Queue
from tests.s3 import S3Server, s3
from tests.stores import closed_port, cluster, engine, fresh_engine, queue_connections
from tests.topologies import Cluster
from tests.trouble import PatientRepository, TroubledProxy, flap

__all__ = ["closed_port", "cluster", "engine", "fresh_engine", "queue_connections", "s3"]

BATCH_MAX: Final = 20
RECORDING_BYTES_MAX: Final = 3_000_000

TRUTHS: Final = ("memory", "postgres")
CACHES: Final = (
    "",
    "redis over ",
    "uncompressed redis over ",
    "redis in 3 partitions over ",
    "redis cluster over ",
    "unreachable redis over ",
    "unreachable uncompressed redis over ",
)
IN_TROUBLE: Final = ("calm chaos over ", "chaos over ", "redis over chaos over ", "flapping redis over ", "flapping redis over chaos over ")

# One call in ten fails before anything is done, and all are late. (What a write that failed afterwards may lead to is told by the model in
# test_under_chaos.py: for this suite's promises it has no answer.)
TROUBLE: Final = Chaos(latency_s=0.002, failure_rate=0.1)
# The shortest bound, and commands that give up soon: whatever flaps is noticed and got over within the patience of a test.
QUICK: Final = CachePolicy(
    batch_max=BATCH_MAX, heartbeat_s=0.2, near_trust_s=0.05, command_s=0.02, connect_s=0.2, open_s=0.02, sampler_s=0.0
)
STALE_S_MAX: Final = QUICK.heartbeat_s + QUICK.near_trust_s + 0.02


@pytest.fixture(params=[cache + truth for cache in CACHES + IN_TROUBLE for truth in TRUTHS])
async def repository(
    request: pytest.FixtureRequest, engine: AsyncEngine, redis_url: str, redis_prefix: str, closed_port: int
) -> AsyncIterator[SessionAnalyticsRepository]:
    """Each composition that the settings can choose, and those in trouble, used by a caller who heeds errors and receipts."""
    name: str = request.param
    async with AsyncExitStack() as stack:
        stored: Any = PostgresSessionAnalyticsRepository(engine) if name.endswith("postgres") else MemorySessionAnalyticsRepository()
        if "chaos" in name:
            stored = ChaosSessionAnalyticsRepository(stored, Chaos() if "calm" in name else TROUBLE, dice=random.Random(1).random)
        if "redis" not in name:
            yield PatientRepository(stored, bound_s=0.0) if name.startswith("chaos") else stored
            return
        # Commands may take their time on a busy machine: a deadline passed is an outage, and outages have their own tests.
        policy = CachePolicy(
            codec="none" if "uncompressed" in name else "zstd",
            batch_max=BATCH_MAX,
            command_s=1.0,
            partitions=3 if "partitions" in name else 4 if "cluster" in name else 1,
        )
        url = f"redis://127.0.0.1:{closed_port}/0" if "unreachable" in name else redis_url
        if "cluster" in name:
            cluster: Cluster = request.getfixturevalue("cluster")
            url = cluster.url
        if "flapping" in name:
            proxy = await stack.enter_async_context(TroubledProxy.to_redis(redis_url))
            url, policy = proxy.redis_url, QUICK
        cache = cached(stored, stored, redis_url=url, key_prefix=redis_prefix, policy=policy)
        await cache.open()
        stack.push_async_callback(cache.aclose)
        if "flapping" in name:
            flapping = asyncio.create_task(flap(proxy, dice=random.Random(request.node.name)))
            stack.push_async_callback(asyncio.wait, [flapping])
            stack.callback(flapping.cancel)
        yield PatientRepository(cache, bound_s=STALE_S_MAX) if "flapping" in name or "chaos" in name else cache


@pytest.fixture(params=TRUTHS)
async def registry(request: pytest.FixtureRequest, engine: AsyncEngine) -> SessionRegistry:
    """Each registry."""
    return PostgresSessionRegistry(engine) if request.param == "postgres" else MemorySessionRegistry()


@pytest.fixture(params=[prefix + truth for prefix in ("", "calm chaos over ") for truth in TRUTHS])
async def store(request: pytest.FixtureRequest, engine: AsyncEngine) -> Any:
    """Each truth: a repository that is its own change feed."""
    name: str = request.param
    stored: Any = PostgresSessionAnalyticsRepository(engine) if name.endswith("postgres") else MemorySessionAnalyticsRepository()
    return ChaosSessionAnalyticsRepository(stored) if "chaos" in name else stored


@pytest.fixture
async def assignments(registry: SessionRegistry, engine: AsyncEngine) -> PatientAssignments:
    """Each keeper of assignments, over the sessions of the registry."""
    return MemoryPatientAssignments(registry) if isinstance(registry, MemorySessionRegistry) else PostgresPatientAssignments(engine)


@pytest.fixture(params=TRUTHS)
def queue(request: pytest.FixtureRequest) -> Queue:
    """Each queue, empty, with its registry and its workers."""
    if request.param == "memory":
        registry = MemorySessionRegistry()
        shared = MemoryProcessingQueue(registry)

        def memory_worker(policy: ProcessingPolicy) -> ProcessingWorker:
            return MemoryProcessingWorker(shared, policy)

        return Queue(registry, shared, memory_worker)
    fresh_engine: AsyncEngine = request.getfixturevalue("fresh_engine")
    connections: QueueConnections = request.getfixturevalue("queue_connections")

    def worker(policy: ProcessingPolicy) -> ProcessingWorker:
        return ProcrastinateWorker(connections, policy, stalled_s=30.0, kept_hours=1)

    return Queue(PostgresSessionRegistry(fresh_engine), ProcrastinateProcessingQueue(PostgresSubmissions(fresh_engine)), worker)


@dataclass(frozen=True, slots=True)
class KeptRecordings:
    """A recording store, and a look behind it."""

    store: ObstoreRecordingStore
    place: Place

    @property
    def is_folder(self) -> bool:
        """Whether recordings are files."""
        return self.place.root is not None

    def with_limit(self, bytes_max: int) -> ObstoreRecordingStore:
        """The same store for smaller recordings."""
        return ObstoreRecordingStore(self.place, RecordingPolicy(bytes_max=bytes_max))

    def left(self) -> list[str]:
        """Everything that is stored; temporary files and empty folders too."""
        left = [f"temporary {path}" for path in self.place.scratch.folder.glob("*")]
        left += [meta["path"] for page in self.place.objects.list() for meta in page if not meta["path"].startswith(".scratch")]
        if self.place.root is not None:
            left += [f"empty {path}" for path in self.place.root.glob("[!.]*") if path.is_dir() and not any(path.rglob("*"))]
        return sorted(left)


@pytest.fixture(params=["folder", "memory", "s3"])
def recordings(request: pytest.FixtureRequest, tmp_path: Path) -> KeptRecordings:
    """Each place for recordings."""
    policy = RecordingPolicy(bytes_max=RECORDING_BYTES_MAX)
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        bucket = f"b{uuid4().hex}"
        server.make_bucket(bucket)
        place = place_at(f"s3://{bucket}/some/prefix", tmp_path, server.access, policy)
    elif request.param == "memory":
        place = memory_place(tmp_path / "scratch")
    else:
        place = place_at(None, tmp_path, S3Access(), policy)
    return KeptRecordings(ObstoreRecordingStore(place, policy), place)


@pytest.fixture(params=["memory", "redis", "redis cluster"])
async def previews(request: pytest.FixtureRequest, redis_url: str, redis_prefix: str) -> AsyncIterator[SignalPreviews]:
    """Each place for previews."""
    if request.param == "memory":
        yield MemorySignalPreviews()
        return
    url = request.getfixturevalue("cluster").url if "cluster" in request.param else redis_url
    kept = redis_previews(url, redis_prefix, CachePolicy(command_s=2.0, connect_s=2.0), PreviewPolicy())
    yield kept
    await kept.aclose()
