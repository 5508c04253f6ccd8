"""The composition root: which adapters there are, which of them run, and in which order they open and close.

    async with running() as app:
        repository = await resolve(app.session_analytics)

Everything opens at its first use and only then: with CACHE=none nothing touches Redis, with STORAGE=memory nothing touches PostgreSQL.
To add an adapter: one Literal in adapters/settings.py, one branch in a Selector here, and the contract suite in tests/contracts.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs
from dependency_injector import containers, providers
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.c3d.reader import C3dRecordingReader
from adapters.embedded import EmbeddedPostgres, EmbeddedValkey
from adapters.memory import (
    MemoryPatientAssignments,
    MemoryProcessingQueue,
    MemoryProcessingWorker,
    MemorySessionAnalyticsRepository,
    MemorySessionRegistry,
)
from adapters.postgres import migrations
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.patient_assignments import PostgresPatientAssignments
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.postgres.submissions import PostgresSubmissions
from adapters.queue import schema as queue_schema
from adapters.queue.connections import QueueConnections
from adapters.queue.jobs import ProcrastinateProcessingQueue
from adapters.queue.worker import ProcrastinateWorker
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.settings import Settings, load_settings
from adapters.workers import ProcessWorkers
from domain.analytics import AnalysisParameters
from domain.ports import (
    ChangeFeed,
    PatientAssignments,
    ProcessingQueue,
    ProcessingWorker,
    RecordingReader,
    RecordingStore,
    SessionAnalyticsRepository,
    SessionRegistry,
)
from domain.processing import ProcessingPolicy
from services.recording_intake import RecordingIntake
from services.session_erasure import SessionErasure
from services.therapy_session_processor import TherapySessionProcessor

T = TypeVar("T")


def data_dir(settings: Settings) -> Path:
    """Where embedded servers keep their data: DATA_DIR, or a folder of the user's."""
    return settings.data_dir or Path(platformdirs.user_data_dir("emg-sessions", appauthor=False))


def postgres_policy(settings: Settings) -> PostgresPolicy:
    """The bounds on PostgreSQL, from settings."""
    return PostgresPolicy(
        pool_size=settings.database_pool_size,
        pool_wait_s=settings.database_pool_wait_s,
        connect_s=settings.database_connect_timeout_s,
        statement_s=settings.database_statement_timeout_s,
    )


def cache_policy(settings: Settings) -> CachePolicy:
    """The bounds and choices of the cache, from settings."""
    return CachePolicy(
        ttl_s=settings.default_cache_ttl_hours * 3600,
        absent_ttl_s=settings.cache_absent_ttl_s,
        heartbeat_s=settings.cache_staleness_bound_s,
        codec=settings.cache_codec if settings.enable_redis_compression else "none",
        near_trust_s=settings.cache_near_trust_s,
        near_entries_max=settings.cache_near_entries_max,
        near_bytes_max=round(settings.cache_near_megabytes_max * 1e6),
        fail_safe_s=settings.cache_fail_safe_s,
        command_s=settings.redis_command_timeout_ms / 1000,
        connect_s=settings.redis_connect_timeout_ms / 1000,
        connections_max=settings.redis_connections_max,
    )


def processing_policy(settings: Settings) -> ProcessingPolicy:
    """The bounds of processing what is queued, from settings."""
    return ProcessingPolicy(
        concurrency=settings.worker_concurrency,
        attempts_max=settings.processing_attempts_max,
        backoff_s=settings.processing_backoff_s,
        backoff_s_max=settings.processing_backoff_s_max,
        drain_s=settings.worker_drain_s,
    )


def connections_for_queue(engine: AsyncEngine, settings: Settings) -> QueueConnections:
    """Where the queue's workers find PostgreSQL: where the engine does, embedded or not."""
    return QueueConnections(
        database_url=engine.url.render_as_string(hide_password=False),
        connect_s=settings.database_connect_timeout_s,
        statement_s=settings.database_statement_timeout_s,
        pool_wait_s=settings.database_pool_wait_s,
    )


def queue_worker(connections: QueueConnections, policy: ProcessingPolicy, settings: Settings) -> ProcrastinateWorker:
    """A worker of the durable queue, from settings."""
    return ProcrastinateWorker(connections, policy, stalled_s=settings.worker_stalled_s, kept_hours=settings.processing_jobs_kept_hours)


async def upgrade_schema(engine: AsyncEngine, settings: Settings) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Brings the tables up to this program, and the queue's up to procrastinate; the revisions before and after, and what the queue got."""
    before, after = await migrations.upgrade(engine)
    return before, after, await queue_schema.upgrade(connections_for_queue(engine, settings))


def analysis_parameters(settings: Settings) -> AnalysisParameters:
    """The parameters of the analysis, from settings."""
    return AnalysisParameters(
        channels=settings.channels,
        mvc_threshold_percent=settings.mvc_threshold_percent,
        duration_threshold_ms=settings.duration_threshold_ms or None,
    )


async def open_postgres(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """An engine on DATABASE_URL, or on an embedded PostgreSQL whose schema is kept up to date."""
    embedded: EmbeddedPostgres | None = None
    if settings.database_url is None:
        embedded = EmbeddedPostgres(data_dir(settings))
        url = await asyncio.to_thread(embedded.open)
    else:
        url = settings.database_url.get_secret_value()
    try:
        engine = create_engine(url, postgres_policy(settings))
        try:
            if embedded is not None:
                await upgrade_schema(engine, settings)
            yield engine
        finally:
            await engine.dispose()
    finally:
        if embedded is not None:
            await asyncio.to_thread(embedded.close)


async def open_cache(inner: SessionAnalyticsRepository, settings: Settings) -> AsyncIterator[RedisCachedSessionAnalyticsRepository]:
    """The cache over `inner`, on REDIS_URL or on an embedded Valkey."""
    embedded: EmbeddedValkey | None = None
    if settings.redis_url is None:
        embedded = EmbeddedValkey(data_dir(settings))
        url = await asyncio.to_thread(embedded.open)
    else:
        url = settings.redis_url.get_secret_value()
    try:
        # Both stores are their own change feeds.
        repository = cached(
            inner, cast(ChangeFeed, inner), redis_url=url, key_prefix=settings.redis_key_prefix, policy=cache_policy(settings)
        )
        await repository.open()
        try:
            yield repository
        finally:
            await repository.aclose()
    finally:
        if embedded is not None:
            await asyncio.to_thread(embedded.close)


async def open_workers(settings: Settings) -> AsyncIterator[ProcessWorkers]:
    """Worker processes, which start at the first work."""
    workers = ProcessWorkers(processes=settings.analysis_processes, timeout_s=settings.analysis_timeout_s)
    try:
        yield workers
    finally:
        await workers.aclose()


class Container(containers.DeclarativeContainer):
    """What there is to resolve. The Selectors are the settings STORAGE and CACHE."""

    settings = providers.Dependency(instance_of=Settings)

    engine = providers.Resource(open_postgres, settings)
    stored: providers.Provider[SessionAnalyticsRepository] = providers.Selector(
        settings.provided.storage,
        postgres=providers.Singleton(PostgresSessionAnalyticsRepository, engine),
        memory=providers.Singleton(MemorySessionAnalyticsRepository),
    )
    cache = providers.Resource(open_cache, stored, settings)
    session_analytics: providers.Provider[SessionAnalyticsRepository] = providers.Selector(
        settings.provided.cache,
        redis=cache,
        none=stored,
    )
    session_registry: providers.Provider[SessionRegistry] = providers.Selector(
        settings.provided.storage,
        postgres=providers.Singleton(PostgresSessionRegistry, engine),
        memory=providers.Singleton(MemorySessionRegistry),
    )

    patient_assignments: providers.Provider[PatientAssignments] = providers.Selector(
        settings.provided.storage,
        postgres=providers.Singleton(PostgresPatientAssignments, engine),
        memory=providers.Singleton(MemoryPatientAssignments),
    )
    recording_store: providers.Provider[RecordingStore] = providers.Object(cast(RecordingStore, None))

    processing = providers.Singleton(processing_policy, settings)
    queue_connections = providers.Singleton(connections_for_queue, engine, settings)
    memory_queue = providers.Singleton(MemoryProcessingQueue, session_registry)
    processing_queue: providers.Provider[ProcessingQueue] = providers.Selector(
        settings.provided.storage,
        postgres=providers.Singleton(ProcrastinateProcessingQueue, providers.Singleton(PostgresSubmissions, engine)),
        memory=memory_queue,
    )
    processing_worker: providers.Provider[ProcessingWorker] = providers.Selector(
        settings.provided.storage,
        postgres=providers.Singleton(queue_worker, queue_connections, processing, settings),
        memory=providers.Singleton(MemoryProcessingWorker, memory_queue, processing),
    )

    workers = providers.Resource(open_workers, settings)
    recording_reader: providers.Provider[RecordingReader] = providers.Singleton(C3dRecordingReader)
    parameters: providers.Provider[AnalysisParameters] = providers.Singleton(analysis_parameters, settings)
    therapy_session_processor: providers.Provider[TherapySessionProcessor] = providers.Singleton(
        TherapySessionProcessor,
        reader=recording_reader,
        workers=workers,
        repository=session_analytics,
        registry=session_registry,
        store=recording_store,
        parameters=parameters,
    )
    recording_intake: providers.Provider[RecordingIntake] = providers.Singleton(
        RecordingIntake, store=recording_store, registry=session_registry, queue=processing_queue
    )
    session_erasure: providers.Provider[SessionErasure] = providers.Singleton(
        SessionErasure, repository=session_analytics, registry=session_registry, store=recording_store
    )


@asynccontextmanager
async def running(settings: Settings | None = None) -> AsyncIterator[Container]:
    """A container whose resources close at the end, the dependent ones first. Settings are read from the environment if not given."""
    app = Container(settings=providers.Object(settings or load_settings()))
    async with AsyncExitStack() as closing:
        # In this order from below: the container's own shutdown does not see that the cache stands on the engine, through a Selector.
        for resource in (app.engine, app.cache, app.workers):
            closing.push_async_callback(_close_if_opened, resource)
        yield app


async def _close_if_opened(resource: providers.Resource[Any]) -> None:
    if resource.initialized:
        closed = resource.shutdown()
        if inspect.isawaitable(closed):
            await closed


async def resolve(provider: providers.Provider[T]) -> T:
    """What a provider provides. Whether it does so at once or needs awaiting depends on the branches selected; this takes both."""
    provided = provider()
    if inspect.isawaitable(provided):
        return await cast(Awaitable[T], provided)
    return provided
