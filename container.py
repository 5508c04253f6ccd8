"""The composition root: which adapters there are, which of them run, and in which order they open and close.

    async with running() as app:
        repository = await resolve(app.session_analytics)

Everything opens at its first use and only then: with CACHE=none nothing touches Redis, with STORAGE=memory nothing touches PostgreSQL.
To add an adapter: one Literal in adapters/settings.py, one branch in a Selector here, and the contract suite in tests/contracts.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs
from dependency_injector import containers, providers
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.c3d.reader import C3dRecordingReader
from adapters.chaos import CALM, Chaos, ChaosSessionAnalyticsRepository
from adapters.embedded import EmbeddedPostgres, EmbeddedValkey
from adapters.http.edge_policy import EdgePolicy, WebhookPolicy
from adapters.http.needs import HttpNeeds
from adapters.http.policy import AccessPolicy, HttpPolicy
from adapters.http.storage_events import Recordings
from adapters.memory import (
    MemoryPatientAssignments,
    MemoryProcessingQueue,
    MemoryProcessingWorker,
    MemorySessionAnalyticsRepository,
    MemorySessionRegistry,
    MemorySignalPreviews,
)
from adapters.metrics import Metrics
from adapters.postgres import migrations
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.health import PostgresHealth
from adapters.postgres.patient_assignments import PostgresPatientAssignments
from adapters.postgres.ready import ReadyConnections
from adapters.postgres.session_analytics import READS, PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.postgres.submissions import PostgresSubmissions
from adapters.queue import schema as queue_schema
from adapters.queue.connections import QueueConnections
from adapters.queue.jobs import ProcrastinateProcessingQueue
from adapters.queue.worker import ProcrastinateWorker
from adapters.rate_limits import PerMinute, SharedCounts
from adapters.recordings import ObstoreRecordingStore, RecordingPolicy, RecordingStoreHealth, S3Access, place_at
from adapters.redis_cache.address import partitions_at
from adapters.redis_cache.compose import cached
from adapters.redis_cache.flights import Flights
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.previews import PreviewPolicy, RedisSignalPreviews, redis_previews
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.redis_cache.watch import CacheWatch
from adapters.reduction import MinMaxReducer
from adapters.remembered import RememberedPatientAssignments, RememberedSessions
from adapters.settings import Settings, load_settings
from adapters.workers import ProcessWorkers
from domain.analytics import AnalysisParameters
from domain.errors import InvalidSettings
from domain.ports import (
    ChangeFeed,
    PatientAssignments,
    ProcessingQueue,
    ProcessingWorker,
    RecordingReader,
    RecordingStore,
    SessionAnalyticsRepository,
    SessionProcessing,
    SessionRegistry,
    SignalPreviews,
    Traces,
    WatchedPart,
    Workers,
)
from domain.processing import ProcessingPolicy
from domain.signals import PREVIEW_S_MAX, SignalPreview
from domain.traces import NoTraces
from services.health import HealthWatch, QueueWatch
from services.leftover_uploads import LeftoverUploads
from services.observation import ObservedProcessing, ObservedWorkers
from services.recording_intake import RecordingIntake
from services.session_access import SessionAccess
from services.session_erasure import SessionErasure
from services.session_signals import SessionSignals
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
        sampler_s=settings.cache_sampler_s,
        partitions=settings.cache_partitions or partitions_at(settings.redis_url.get_secret_value() if settings.redis_url else None),
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


def queue_worker(connections: QueueConnections, policy: ProcessingPolicy, settings: Settings, traces: Traces) -> ProcrastinateWorker:
    """A worker of the durable queue, from settings."""
    return ProcrastinateWorker(
        connections, policy, stalled_s=settings.worker_stalled_s, kept_hours=settings.processing_jobs_kept_hours, traces=traces
    )


async def upgrade_schema(engine: AsyncEngine, settings: Settings) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Brings the tables up to this program, and the queue's up to procrastinate; the revisions before and after, and what the queue got."""
    before, after = await migrations.upgrade(engine)
    return before, after, await queue_schema.upgrade(connections_for_queue(engine, settings))


def leftover_age(settings: Settings) -> timedelta:
    """The age at which an upload without a session is nobody's, from settings."""
    return timedelta(hours=settings.recording_leftover_hours)


def analysis_parameters(settings: Settings) -> AnalysisParameters:
    """The parameters of the analysis, from settings."""
    return AnalysisParameters(
        channels=settings.channels,
        mvc_session=settings.mvc_session,
        mvc_by_channel=dict(settings.mvc_channels),
        mvc_threshold_percent=settings.mvc_threshold_percent,
        duration_threshold_ms=settings.duration_threshold_ms or None,
    )


def http_policy(settings: Settings) -> HttpPolicy:
    """The bounds and choices of the HTTP surface, from settings."""
    access = AccessPolicy(
        secret=None if settings.jwt_secret is None else settings.jwt_secret.get_secret_value(),
        jwks_url=settings.jwt_jwks_url,
        jwks_file=settings.jwt_jwks_file,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        role_claim=settings.jwt_role_claim,
        leeway_s=settings.jwt_leeway_s,
    )
    return HttpPolicy(access=access, edge=edge_policy(settings))


def edge_policy(settings: Settings) -> EdgePolicy:
    """The bounds and choices where requests enter, from settings."""
    secrets = (settings.webhook_secret, settings.webhook_secret_previous)
    return EdgePolicy(
        webhook=WebhookPolicy(
            secrets=tuple(secret.get_secret_value() for secret in secrets if secret is not None),
            unsigned_allowed=settings.webhook_unsigned_allowed,
            recordings=Recordings(settings.webhook_bucket, settings.webhook_name_pattern),
            patient_pattern=settings.webhook_patient_pattern,
        ),
        recording_bytes_max=round(settings.recording_megabytes_max * 1e6),
        body_idle_s_max=settings.body_idle_s_max,
        log_requests=settings.log_level in ("debug", "info"),
    )


Waiting = Callable[[str], AbstractContextManager[object]]  # Stands around a wait that may be long; its argument says what it is for.


def in_silence(_: str) -> AbstractContextManager[object]:
    """Nobody is told what is waited for."""
    return nullcontext()


async def open_postgres(settings: Settings, waiting: Waiting) -> AsyncIterator[AsyncEngine]:
    """An engine on DATABASE_URL, or on an embedded PostgreSQL whose schema is kept up to date."""
    embedded: EmbeddedPostgres | None = None
    if settings.database_url is None:
        embedded = EmbeddedPostgres(data_dir(settings))
        with waiting("starting PostgreSQL"):
            url = await asyncio.to_thread(embedded.open)
    else:
        url = settings.database_url.get_secret_value()
    try:
        engine = create_engine(url, postgres_policy(settings))
        try:
            if embedded is not None:
                with waiting("looking after PostgreSQL's tables"):
                    await upgrade_schema(engine, settings)
            yield engine
        finally:
            await engine.dispose()
    finally:
        if embedded is not None:
            with waiting("stopping PostgreSQL"):
                await asyncio.to_thread(embedded.close)


async def open_ready_connections(engine: AsyncEngine, settings: Settings) -> AsyncIterator[ReadyConnections]:
    """Connections to PostgreSQL that are open before they are needed."""
    ready = ReadyConnections(engine, READS, postgres_policy(settings))
    ready.begin()
    try:
        yield ready
    finally:
        await ready.aclose()


def with_chaos(inner: SessionAnalyticsRepository, settings: Settings) -> SessionAnalyticsRepository:
    """The store, slow and failing on purpose if the settings ask for it; else itself."""
    chaos = Chaos(latency_s=settings.chaos_latency_ms / 1000, failure_rate=settings.chaos_failure_rate)
    return inner if chaos == CALM else ChaosSessionAnalyticsRepository(inner, chaos)


async def open_redis(settings: Settings, waiting: Waiting) -> AsyncIterator[str]:
    """Where Redis is: REDIS_URL, or an embedded Valkey."""
    if settings.redis_url is not None:
        yield settings.redis_url.get_secret_value()
        return
    embedded = EmbeddedValkey(data_dir(settings))
    with waiting("starting Valkey"):
        url = await asyncio.to_thread(embedded.open)
    try:
        yield url
    finally:
        with waiting("stopping Valkey"):
            await asyncio.to_thread(embedded.close)


async def open_cache(
    inner: SessionAnalyticsRepository, redis_url: str, settings: Settings
) -> AsyncIterator[RedisCachedSessionAnalyticsRepository]:
    """The cache over `inner`."""
    # Both stores are their own change feeds.
    repository = cached(
        inner, cast(ChangeFeed, inner), redis_url=redis_url, key_prefix=settings.redis_key_prefix, policy=cache_policy(settings)
    )
    await repository.open()
    try:
        yield repository
    finally:
        await repository.aclose()


async def open_previews(redis_url: str, settings: Settings) -> AsyncIterator[RedisSignalPreviews]:
    """Previews of signals in Redis."""
    previews = redis_previews(redis_url, settings.redis_key_prefix, cache_policy(settings), PreviewPolicy())
    try:
        yield previews
    finally:
        await previews.aclose()


async def open_session_signals(
    repository: SessionAnalyticsRepository,
    store: RecordingStore,
    workers: Workers,
    reader: RecordingReader,
    previews: SignalPreviews,
) -> AsyncIterator[SessionSignals]:
    """Signals of sessions; equal requests share their work for as long as it may take."""
    shared: Flights[str, SignalPreview] = Flights(joinable_s=PREVIEW_S_MAX)
    try:
        yield SessionSignals(
            repository=repository,
            store=store,
            workers=workers,
            reader=reader,
            reducer=MinMaxReducer(),
            previews=previews,
            shared=shared,
        )
    finally:
        await shared.aclose()


async def open_recording_store(settings: Settings) -> ObstoreRecordingStore:
    """The recording store at RECORDINGS_URL, or in DATA_DIR. It holds nothing that would need closing."""
    policy = RecordingPolicy(bytes_max=round(settings.recording_megabytes_max * 1e6))
    access = S3Access(
        access_key_id=_secret(settings.aws_access_key_id),
        secret_access_key=_secret(settings.aws_secret_access_key),
        region=settings.aws_region,
        endpoint=settings.aws_endpoint_url,
    )
    place = await asyncio.to_thread(place_at, settings.recordings_url, data_dir(settings), access, policy)
    store = ObstoreRecordingStore(place, policy)
    await store.open()
    return store


def recording_store_health(store: ObstoreRecordingStore) -> RecordingStoreHealth:
    """The watch over a recording store."""
    return RecordingStoreHealth(store.place, store.policy)


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


async def open_traces(settings: Settings) -> AsyncIterator[Traces]:
    """Traces to a collector, or to nobody: then the library is not even imported."""
    if settings.otel_exporter_otlp_endpoint is None:
        yield NoTraces()
        return
    try:
        from adapters.traces import to_collector  # noqa: PLC0415
    except ModuleNotFoundError:
        raise InvalidSettings("OTEL_EXPORTER_OTLP_ENDPOINT: needs the extra: pip install 'emg-sessions[telemetry]'") from None
    traces = to_collector(settings.otel_exporter_otlp_endpoint)
    try:
        yield traces
    finally:
        await asyncio.to_thread(traces.close)


async def open_metrics() -> AsyncIterator[Metrics]:
    """The metrics of this process, which shares them with others if PROMETHEUS_MULTIPROC_DIR says where."""
    metrics = Metrics(multiprocess="PROMETHEUS_MULTIPROC_DIR" in os.environ)
    await metrics.open()
    try:
        yield metrics
    finally:
        await metrics.aclose()


async def open_upload_limit(settings: Settings) -> AsyncIterator[PerMinute]:
    """The rate limit of uploads: one for all processes where there is a Redis of ours."""
    shared = None
    if settings.cache == "redis" and settings.redis_url is not None:
        deadline_s = settings.redis_command_timeout_ms / 1000
        shared = SharedCounts(settings.redis_url.get_secret_value(), settings.redis_key_prefix, deadline_s)
    limit = PerMinute("uploads", settings.uploads_per_minute_max, shared)
    try:
        yield limit
    finally:
        await limit.aclose()


def watch_over(
    metrics: Metrics, *, database: WatchedPart | None, cache: CacheWatch | None, queue: WatchedPart, recordings: WatchedPart
) -> HealthWatch:
    """The health of the parts that there are. What the cache counts is told with the metrics."""
    if cache is not None:
        metrics.follow(cache.counts)
    parts = {"database": database, "cache": cache, "queue": queue, "recordings": recordings}
    return HealthWatch({name: part for name, part in parts.items() if part is not None})


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
    waiting: providers.Provider[Waiting] = providers.Object(in_silence)

    traces = providers.Resource(open_traces, settings)
    metrics = providers.Resource(open_metrics)

    engine = providers.Resource(open_postgres, settings, waiting)
    postgres_ready = providers.Resource(open_ready_connections, engine, settings)
    ready = providers.Selector(settings.provided.storage, postgres=postgres_ready, memory=providers.Object(None))
    """For processes that serve: resolving it keeps connections open, which a command that soon ends would pay for in vain."""
    undisturbed: providers.Provider[SessionAnalyticsRepository] = providers.Selector(
        settings.provided.storage,
        postgres=providers.Singleton(PostgresSessionAnalyticsRepository, engine),
        memory=providers.Singleton(MemorySessionAnalyticsRepository),
    )
    stored: providers.Provider[SessionAnalyticsRepository] = providers.Singleton(with_chaos, undisturbed, settings)
    redis = providers.Resource(open_redis, settings, waiting)
    cache = providers.Resource(open_cache, stored, redis, settings)
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

    recording_store: providers.Provider[RecordingStore] = providers.Resource(open_recording_store, settings)

    processing = providers.Singleton(processing_policy, settings)
    queue_connections = providers.Singleton(connections_for_queue, engine, settings)
    memory_queue = providers.Singleton(MemoryProcessingQueue, session_registry)
    processing_queue: providers.Provider[ProcessingQueue] = providers.Selector(
        settings.provided.storage,
        postgres=providers.Singleton(ProcrastinateProcessingQueue, providers.Singleton(PostgresSubmissions, engine), traces),
        memory=memory_queue,
    )
    processing_worker: providers.Provider[ProcessingWorker] = providers.Selector(
        settings.provided.storage,
        postgres=providers.Singleton(queue_worker, queue_connections, processing, settings, traces),
        memory=providers.Singleton(MemoryProcessingWorker, memory_queue, processing),
    )

    workers = providers.Resource(open_workers, settings)
    recording_reader: providers.Provider[RecordingReader] = providers.Singleton(C3dRecordingReader)
    parameters: providers.Provider[AnalysisParameters] = providers.Singleton(analysis_parameters, settings)
    therapy_session_processor: providers.Provider[TherapySessionProcessor] = providers.Singleton(
        TherapySessionProcessor,
        reader=recording_reader,
        workers=providers.Singleton(ObservedWorkers, workers, metrics),
        repository=session_analytics,
        registry=session_registry,
        store=recording_store,
        parameters=parameters,
        traces=traces,
    )
    redis_previews = providers.Resource(open_previews, redis, settings)
    signal_previews: providers.Provider[SignalPreviews] = providers.Selector(
        settings.provided.cache,
        redis=redis_previews,
        none=providers.Singleton(MemorySignalPreviews),
    )
    session_processing: providers.Provider[SessionProcessing] = providers.Singleton(ObservedProcessing, therapy_session_processor, metrics)
    recording_intake: providers.Provider[RecordingIntake] = providers.Singleton(
        RecordingIntake, store=recording_store, registry=session_registry, queue=processing_queue
    )
    leftover_uploads: providers.Provider[LeftoverUploads] = providers.Singleton(
        LeftoverUploads, store=recording_store, registry=session_registry, age=providers.Singleton(leftover_age, settings)
    )
    session_erasure: providers.Provider[SessionErasure] = providers.Singleton(
        SessionErasure, repository=session_analytics, registry=session_registry, store=recording_store, previews=signal_previews
    )

    session_signals = providers.Resource(
        open_session_signals, session_analytics, recording_store, workers, recording_reader, signal_previews
    )

    assignments: providers.Provider[PatientAssignments] = providers.Selector(
        settings.provided.storage,
        postgres=providers.Singleton(PostgresPatientAssignments, engine),
        memory=providers.Singleton(MemoryPatientAssignments, session_registry),
    )
    patient_assignments: providers.Provider[PatientAssignments] = providers.Singleton(
        RememberedPatientAssignments, assignments, trust_s=settings.provided.access_trust_s
    )
    remembered_sessions = providers.Singleton(RememberedSessions, session_registry.provided.find, trust_s=settings.provided.access_trust_s)
    session_access = providers.Singleton(
        SessionAccess,
        find=session_registry.provided.find,
        find_owner=remembered_sessions.provided.find,
        assignments=patient_assignments,
    )

    upload_limit = providers.Resource(open_upload_limit, settings)
    health = providers.Singleton(
        watch_over,
        metrics,
        database=providers.Selector(
            settings.provided.storage, postgres=providers.Singleton(PostgresHealth, engine), memory=providers.Object(None)
        ),
        cache=providers.Selector(settings.provided.cache, redis=providers.Singleton(CacheWatch, cache), none=providers.Object(None)),
        queue=providers.Singleton(QueueWatch, processing_queue),
        recordings=providers.Singleton(recording_store_health, recording_store),
    )

    http = providers.Container(
        HttpNeeds,
        recording_intake=recording_intake,
        upload_limit=upload_limit,
        health=health,
        meter=metrics,
        traces=traces,
        session_analytics=session_analytics,
        session_registry=session_registry,
        patient_assignments=patient_assignments,
        session_access=session_access,
        session_signals=session_signals,
        session_erasure=session_erasure,
    )


@asynccontextmanager
async def running(settings: Settings | None = None, *, waiting: Waiting = in_silence) -> AsyncIterator[Container]:
    """A container whose resources close at the end, the dependent ones first. Settings are read from the environment if not given."""
    app = Container(settings=providers.Object(settings or load_settings()), waiting=providers.Object(waiting))
    async with AsyncExitStack() as closing:
        # In this order from below: the container's own shutdown does not see that the cache stands on the engine, through a Selector.
        for resource in (
            app.traces, app.metrics, app.engine, app.postgres_ready, app.redis, app.upload_limit, app.cache, app.redis_previews,
            app.workers, app.session_signals,
        ):  # fmt: skip
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
