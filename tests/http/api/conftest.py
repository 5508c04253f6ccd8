"""The service over real servers, one for all tests of a worker: each test has sessions and patients of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.settings import Settings, load_settings
from container import upgrade_schema
from tests.http.api.service import SECRET, Service, serving
from tests.stores import closed_port, engine

__all__ = ["closed_port", "engine"]


@pytest.fixture(scope="session")
async def settings(engine: AsyncEngine, database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Those of a service with keys. Whatever changes is seen at once: what is remembered has its own tests."""
    settings = load_settings(
        database_url=database_url,
        redis_url=redis_url,
        redis_key_prefix=f"test_{secrets.token_hex(6)}",
        data_dir=tmp_path_factory.mktemp("data"),
        redis_command_timeout_ms=2000,
        redis_connect_timeout_ms=2000,
        jwt_secret=SECRET,
        access_trust_s=0,
    )
    await upgrade_schema(engine, settings)
    return settings


@pytest.fixture(scope="session")
async def service(settings: Settings) -> AsyncIterator[Service]:
    """The service with keys."""
    async with serving(settings) as service:
        yield service


@pytest.fixture(scope="session")
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """The service without keys, in memory."""
    async with serving(settings.model_copy(update={"jwt_secret": None, "storage": "memory", "cache": "none"})) as service:
        yield service


@pytest.fixture
def patient() -> str:
    """A patient whom nobody else knows."""
    return f"P{secrets.token_hex(6)}"


@pytest.fixture
def therapist() -> str:
    """A therapist whom nobody else knows."""
    return f"T{secrets.token_hex(6)}"
