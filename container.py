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
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.c3d.reader import C3dRecordingReader
from adapters.embedded import EmbeddedPostgres, EmbeddedValkey
from adapters.http.needs import HttpNeeds
from adapters.http.policy import AccessPolicy, HttpPolicy
from adapters.memory import MemoryPatientAssignments, MemorySessionAnalyticsRepository, MemorySessionRegistry, MemorySignalPreviews
from adapters.postgres import migrations
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.recordings import ObstoreRecordingStore, RecordingPolicy, S3Access, place_at
from adapters.redis_cache.compose import cached
from adapters.redis_cache.flights import Flights
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.previews import PreviewPolicy, RedisSignalPreviews, redis_previews
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.reduction import MinMaxReducer
from adapters.remembered import RememberedPatientAssignments, RememberedSessions
from adapters.settings import Settings, load_settings
from adapters.workers import ProcessWorkers
from domain.analytics import AnalysisParameters
from domain.ports import (
    ChangeFeed,
    PatientAssignments,
    RecordingReader,
    RecordingStore,
    SessionAnalyticsRepository,
    SessionRegistry,
    SignalPreviews,
)
from domain.signals import PREVIEW_S_MAX, SignalPreview
from services.session_access import SessionAccess
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
        command_s=settings.redis_command_timeout_ms / 1000,
        connect_s=settings.redis_connect_timeout_ms / 1000,
        connections_max=settings.redis_connections_max,
    )


def analysis_parameters(settings: Settings) -> AnalysisParameters:
    """The parameters of the analysis, from settings."""
    return AnalysisParameters(
        channels=settings.channels,
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
    return HttpPolicy(access=access)


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
                await migrations.upgrade(engine)
            yield engine
        finally:
            await engine.dispose()
    finally:
        if embedded is not None:
            await asyncio.to_thread(embedded.close)


async def open_redis(settings: Settings) -> AsyncIterator[str]:
    """Where Redis is: REDIS_URL, or an embedded Valkey."""
    if settings.redis_url is not None:
        yield settings.redis_url.get_secret_value()
        return
    embedded = EmbeddedValkey(data_dir(settings))
    url = await asyncio.to_thread(embedded.open)
    try:
        yield url
    finally:
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
    workers: ProcessWorkers,
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


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


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
    redis = providers.Resource(open_redis, settings)
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
    workers = providers.Resource(open_workers, settings)
    recording_reader: providers.Provider[RecordingReader] = providers.Singleton(C3dRecordingReader)
    parameters: providers.Provider[AnalysisParameters] = providers.Singleton(analysis_parameters, settings)
    therapy_session_processor: providers.Provider[TherapySessionProcessor] = providers.Singleton(
        TherapySessionProcessor,
        reader=recording_reader,
        workers=workers,
        repository=session_analytics,
        registry=session_registry,
        parameters=parameters,
    )

    redis_previews = providers.Resource(open_previews, redis, settings)
    signal_previews: providers.Provider[SignalPreviews] = providers.Selector(
        settings.provided.cache,
        redis=redis_previews,
        none=providers.Singleton(MemorySignalPreviews),
    )
    session_signals = providers.Resource(
        open_session_signals, session_analytics, recording_store, workers, recording_reader, signal_previews
    )

    assignments: providers.Provider[PatientAssignments] = providers.Selector(
        settings.provided.storage,
        memory=providers.Singleton(MemoryPatientAssignments),
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

    http = providers.Container(
        HttpNeeds,
        session_analytics=session_analytics,
        session_registry=session_registry,
        patient_assignments=patient_assignments,
        session_access=session_access,
        session_signals=session_signals,
    )


@asynccontextmanager
async def running(settings: Settings | None = None) -> AsyncIterator[Container]:
    """A container whose resources close at the end, the dependent ones first. Settings are read from the environment if not given."""
    app = Container(settings=providers.Object(settings or load_settings()))
    async with AsyncExitStack() as closing:
        # In this order from below: the container's own shutdown does not see that the cache stands on the engine, through a Selector.
        for resource in (app.engine, app.redis, app.cache, app.redis_previews, app.workers, app.session_signals):
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
