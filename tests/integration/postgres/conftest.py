"""The truth alone, on real PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from tests.stores import closed_port, engine, fresh_engine

__all__ = ["closed_port", "engine", "fresh_engine"]


@pytest.fixture
async def repository(engine: AsyncEngine) -> PostgresSessionAnalyticsRepository:
    """The repository on this worker's database."""
    return PostgresSessionAnalyticsRepository(engine)


@pytest.fixture
async def fresh_repository(fresh_engine: AsyncEngine) -> PostgresSessionAnalyticsRepository:
    """A repository on a database of the test's own."""
    return PostgresSessionAnalyticsRepository(fresh_engine)
