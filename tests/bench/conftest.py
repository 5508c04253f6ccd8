"""A stage on the test run's servers, for works that are made small."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.entrypoints.bench.documents import Documents
from adapters.entrypoints.bench.method import Pace
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Stage, open_truth
from tests.stores import fresh_engine
from tests.strategies import some_analytics

__all__ = ["fresh_engine"]

TINY = Pace("tiny", rounds=2, turn_s=0.01, calls=8)


@pytest.fixture
async def stage(fresh_engine: AsyncEngine, fresh_database_url: str, redis_url: str, redis_prefix: str) -> AsyncIterator[Stage]:
    """A database of the test's own, and keys of its own."""
    async with open_truth(fresh_database_url) as truth:
        yield Stage(Place(fresh_database_url, redis_url, redis_prefix, None, {}), truth, Documents(some_analytics(), {}, ()), TINY)
