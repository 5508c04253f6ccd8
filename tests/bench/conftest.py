"""A stage for works that are made small: a database of the test's own, and a Redis that speaks TCP, as some peers want."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.entrypoints.bench.documents import Documents
from adapters.entrypoints.bench.method import Pace
from adapters.entrypoints.bench.servers import OwnServers, Place
from adapters.entrypoints.bench.stage import Stage, open_truth
from tests.stores import fresh_engine
from tests.strategies import some_analytics

__all__ = ["fresh_engine"]

TINY = Pace("tiny", rounds=2, turn_s=0.01, calls=8, sessions=100, many_rounds=2, thorough=False)


@pytest.fixture
async def stage(fresh_engine: AsyncEngine, fresh_database_url: str, redis_prefix: str) -> AsyncIterator[Stage]:
    """A stage with a document in which no field is absent."""
    own = OwnServers()
    try:
        place = Place(fresh_database_url, await own.open_redis(), redis_prefix, None, {})
        async with open_truth(fresh_database_url) as truth:
            yield Stage(place, truth, Documents(some_analytics(), {}, ()), TINY)
    finally:
        await own.aclose()
