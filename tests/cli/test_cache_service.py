"""The repository for threaded code: forty threads at once, real servers, nothing lost and nothing refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from adapters.entrypoints import cache_service
from adapters.entrypoints.cache_service import CacheService
from adapters.settings import Settings, load_settings
from domain.errors import InvalidSessionId, StoredDataInvalid
from tests.strategies import some_analytics

THREADS = 40


def document(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(some_analytics())
    return plain | changes


@pytest.fixture
def settings(fresh_database_url: str, redis_url: str, redis_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    url = fresh_database_url.replace("postgresql+asyncpg", "postgresql")
    monkeypatch.chdir(tmp_path)  # No .env of ours is read there.
    for name, value in {"DATABASE_URL": url, "REDIS_URL": redis_url, "REDIS_KEY_PREFIX": redis_prefix}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.fixture
def service(settings: Settings) -> Iterator[CacheService]:
    with CacheService(settings) as service:
        yield service


def test_what_is_set_is_got_until_it_is_deleted(service: CacheService) -> None:
    stored = document()
    session_id = stored["session_id"]
    assert service.get_session_analytics(session_id) is None
    assert service.set_session_analytics(session_id, stored) is True
    assert service.set_session_analytics(session_id, stored) is False
    assert service.get_session_analytics(session_id) == stored
    assert service.delete_session_analytics(session_id) is True
    assert service.delete_session_analytics(session_id) is False
    assert service.get_session_analytics(session_id) is None


def test_nothing_is_only_in_the_cache(service: CacheService, settings: Settings) -> None:
    stored = document()
    service.set_session_analytics(stored["session_id"], stored)
    with CacheService(settings.model_copy(update={"cache": "none"})) as without_cache:
        assert without_cache.get_session_analytics(stored["session_id"]) == stored
        assert without_cache.get_cache_stats() == {"enabled": False}
        assert without_cache.health_check() == {"status": "off"}


def test_forty_threads_at_once_lose_nothing_and_are_refused_nothing(service: CacheService) -> None:
    shared = document()
    service.set_session_analytics(shared["session_id"], shared)
    at_once = threading.Barrier(THREADS)

    def work(number: int) -> None:
        own = document()
        at_once.wait(20)
        for _ in range(10):
            assert service.get_session_analytics(shared["session_id"]) == shared
        service.set_session_analytics(own["session_id"], own)
        assert service.get_session_analytics(own["session_id"]) == own
        if number % 2:
            service.delete_session_analytics(own["session_id"])
            assert service.get_session_analytics(own["session_id"]) is None

    with ThreadPoolExecutor(THREADS) as threads:
        for done in [threads.submit(work, number) for number in range(THREADS)]:
            done.result(60)
    assert service.get_cache_stats()["performance_stats"]["hit_rate"] > 0.5
    assert service.health_check()["status"] == "healthy"


def test_bad_input_is_a_typed_error(service: CacheService) -> None:
    stored = document()
    with pytest.raises(InvalidSessionId):
        service.get_session_analytics("no id")
    with pytest.raises(StoredDataInvalid, match="another session"):
        service.set_session_analytics(uuid4(), stored)
    with pytest.raises(StoredDataInvalid, match="schema 1"):
        service.set_session_analytics(stored["session_id"], {"session_id": stored["session_id"]})
    assert service.get_session_analytics(stored["session_id"]) is None


def test_warming_finds_no_sessions_where_none_are_registered(service: CacheService) -> None:
    assert service.warm_cache_for_recent_sessions(24) == 0


def test_there_is_one_service_a_process_and_after_closing_a_new_one(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as threads:
        services = set(threads.map(lambda _: cache_service.get_cache_service(), range(8)))
    (only,) = services
    only.close()
    only.close()
    with cache_service.get_cache_service() as another:
        assert another is not only
        assert another.health_check()["status"] == "healthy"
    assert settings.cache == "redis"
