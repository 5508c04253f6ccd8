"""The application on this worker's database, and on databases of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from adapters.settings import Settings, load_settings
from tests.http.serving import JWT_SECRET, WEBHOOK_SECRET, Served, served
from tests.stores import closed_port

__all__ = ["closed_port"]

MakeSettings = Callable[..., Settings]


@pytest.fixture
def settings_for(fresh_database_url: str, redis_url: str, redis_prefix: str, tmp_path: Path) -> MakeSettings:
    """Settings on a database of the test's own, with the schema in place, and on the run's Redis."""

    def make(**changes: object) -> Settings:
        given = {
            "database_url": fresh_database_url.replace("postgresql+asyncpg", "postgresql"),
            "redis_url": redis_url,
            "redis_key_prefix": redis_prefix,
            "data_dir": tmp_path,
            "redis_command_timeout_ms": 2000,
            "redis_connect_timeout_ms": 5000,
            "jwt_secret": JWT_SECRET,
            "webhook_secret": WEBHOOK_SECRET,
            "analysis_processes": 1,
            "worker_concurrency": 1,
        }
        return load_settings(**given | changes)

    return make


@pytest.fixture
async def service(settings_for: MakeSettings) -> AsyncIterator[Served]:
    """The application, served."""
    async with served(settings_for(cache="none")) as running_service:
        yield running_service
