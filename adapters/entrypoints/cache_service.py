"""The repository for threaded code: plain functions that block, over one event loop in a thread of its own.

    service = get_cache_service()
    analytics = service.get_session_analytics("6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10")

Every call goes through the same repository as everything else, so a write is in the database before it is in the cache, and never in the
cache alone. Any number of threads may call at once. Errors are those of domain/errors.py.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Self
from uuid import UUID

import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal

from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.settings import Settings, load_settings
from container import Container, resolve, running
from domain.analytics import SessionAnalytics
from domain.errors import StoredDataInvalid
from domain.session import SessionId, parse_session_id
from services.cache_warming import warm_recent_sessions

_service: CacheService | None = None
_service_lock = threading.Lock()


def get_cache_service() -> CacheService:
    """The one service of this process, opened at the first call with the environment's settings."""
    global _service  # noqa: PLW0603 - one a process is what callers of a function without arguments expect
    with _service_lock:
        if _service is None or _service.closed:
            _service = CacheService(load_settings())
        return _service


class CacheService:
    """Session analytics for threaded code. Close it, or use it in a `with` statement."""

    def __init__(self, settings: Settings) -> None:
        self._opened = ExitStack()
        self._closing = threading.Lock()
        self.closed = False
        try:
            self._portal: BlockingPortal = self._opened.enter_context(start_blocking_portal(name="cache service"))
            self._app: Container = self._opened.enter_context(self._portal.wrap_async_context_manager(running(settings)))
            # Opened here, by one thread, so that forty that come at once find it open.
            self._repository = self._portal.call(resolve, self._app.session_analytics)
            self._registry = self._portal.call(resolve, self._app.session_registry)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_session_analytics(self, session_id: str | UUID) -> dict[str, Any] | None:
        """The analytics document as plain values, or None if there is none."""
        answer = self._portal.call(self._repository.get, _id(session_id))
        return None if answer is None else _plain(answer.analytics)

    def set_session_analytics(self, session_id: str | UUID, analytics_data: dict[str, Any]) -> bool:
        """Stores an analytics document; True if it changed anything. Raises StoredDataInvalid if it is none, or another session's."""
        try:
            analytics = msgspec.convert(analytics_data, SessionAnalytics)
        except (msgspec.ValidationError, ValueError) as error:
            raise StoredDataInvalid(f"this is no analytics document of schema 1: {error}") from error
        if analytics.session_id != _id(session_id):
            raise StoredDataInvalid(f"this is the analytics document of another session than {session_id}")
        return self._portal.call(self._repository.save, analytics).changed

    def delete_session_analytics(self, session_id: str | UUID) -> bool:
        """Erases the analytics everywhere; False if there were none."""
        return self._portal.call(self._repository.delete, _id(session_id)) is not None

    def get_cache_stats(self) -> dict[str, Any]:
        """What the cache holds and counted, over all processes; with `performance_stats.hit_rate`. Without a cache: {"enabled": False}."""
        if not isinstance(self._repository, RedisCachedSessionAnalyticsRepository):
            return {"enabled": False}
        contents = self._portal.call(self._repository.inspection.contents)
        if isinstance(contents, Unavailable):
            return {"enabled": True, "unavailable": contents.reason}
        return {"enabled": True, **contents.as_document()}

    def health_check(self) -> dict[str, Any]:
        """How the cache does: `status` is healthy, degraded or unhealthy, or off without a cache."""
        if not isinstance(self._repository, RedisCachedSessionAnalyticsRepository):
            return {"status": "off"}
        return asdict(self._portal.call(self._repository.inspection.health))

    def warm_cache_for_recent_sessions(self, hours: float = 24.0) -> int:
        """Reads the sessions registered in the last hours, so that they are in the cache; how many there were."""
        return self._portal.call(warm_recent_sessions, self._repository, self._registry, hours)

    def close(self) -> None:
        """Closes everything. It may be called twice."""
        with self._closing:
            self.closed = True
            self._opened.close()


def _id(session_id: str | UUID) -> SessionId:
    return SessionId(session_id) if isinstance(session_id, UUID) else parse_session_id(session_id)


def _plain(analytics: SessionAnalytics) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(analytics)
    return plain
