"""Every adapter that claims to keep a port's promises. To add one: a branch here, and nothing in the tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.chaos import Chaos, ChaosSessionAnalyticsRepository
from adapters.memory import MemorySessionAnalyticsRepository, MemorySessionRegistry
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from domain.ports import SessionAnalyticsRepository, SessionRegistry
from tests.stores import closed_port, engine
from tests.trouble import PatientRepository, TroubledProxy, flap

__all__ = ["closed_port", "engine"]

BATCH_MAX: Final = 20

TRUTHS: Final = ("memory", "postgres")
CACHES: Final = ("", "redis over ", "uncompressed redis over ", "unreachable redis over ", "unreachable uncompressed redis over ")
IN_TROUBLE: Final = ("calm chaos over ", "chaos over ", "redis over chaos over ", "flapping redis over ", "flapping redis over chaos over ")

# One call in ten fails before anything is done, and all are late. (What a write that failed afterwards may lead to is told by the model in
# test_under_chaos.py: for this suite's promises it has no answer.)
TROUBLE: Final = Chaos(latency_s=0.002, failure_rate=0.1)
# The shortest bound, and commands that give up soon: whatever flaps is noticed and got over within the patience of a test.
QUICK: Final = CachePolicy(
    batch_max=BATCH_MAX, heartbeat_s=0.2, near_trust_s=0.05, command_s=0.02, connect_s=0.2, open_s=0.02, sampler_s=0.0
)
STALE_S_MAX: Final = QUICK.heartbeat_s + QUICK.near_trust_s + 0.02


@pytest.fixture(params=[cache + truth for cache in CACHES + IN_TROUBLE for truth in TRUTHS])
async def repository(
    request: pytest.FixtureRequest, engine: AsyncEngine, redis_url: str, redis_prefix: str, closed_port: int
) -> AsyncIterator[SessionAnalyticsRepository]:
    """Each composition that the settings can choose, and those in trouble, used by a caller who heeds errors and receipts."""
    name: str = request.param
    async with AsyncExitStack() as stack:
        stored: Any = PostgresSessionAnalyticsRepository(engine) if name.endswith("postgres") else MemorySessionAnalyticsRepository()
        if "chaos" in name:
            stored = ChaosSessionAnalyticsRepository(stored, Chaos() if "calm" in name else TROUBLE, dice=random.Random(1).random)
        if "redis" not in name:
            yield PatientRepository(stored, bound_s=0.0) if name.startswith("chaos") else stored
            return
        # Commands may take their time on a busy machine: a deadline passed is an outage, and outages have their own tests.
        policy = CachePolicy(codec="none" if "uncompressed" in name else "zstd", batch_max=BATCH_MAX, command_s=1.0)
        url = f"redis://127.0.0.1:{closed_port}/0" if "unreachable" in name else redis_url
        if "flapping" in name:
            proxy = await stack.enter_async_context(TroubledProxy.to_redis(redis_url))
            url, policy = proxy.redis_url, QUICK
        cache = cached(stored, stored, redis_url=url, key_prefix=redis_prefix, policy=policy)
        await cache.open()
        stack.push_async_callback(cache.aclose)
        if "flapping" in name:
            flapping = asyncio.create_task(flap(proxy, dice=random.Random(request.node.name)))
            stack.push_async_callback(asyncio.wait, [flapping])
            stack.callback(flapping.cancel)
        yield PatientRepository(cache, bound_s=STALE_S_MAX) if "flapping" in name or "chaos" in name else cache


@pytest.fixture(params=TRUTHS)
async def registry(request: pytest.FixtureRequest, engine: AsyncEngine) -> SessionRegistry:
    """Each registry."""
    return PostgresSessionRegistry(engine) if request.param == "postgres" else MemorySessionRegistry()


@pytest.fixture(params=[prefix + truth for prefix in ("", "calm chaos over ") for truth in TRUTHS])
async def store(request: pytest.FixtureRequest, engine: AsyncEngine) -> Any:
    """Each truth: a repository that is its own change feed."""
    name: str = request.param
    stored: Any = PostgresSessionAnalyticsRepository(engine) if name.endswith("postgres") else MemorySessionAnalyticsRepository()
    return ChaosSessionAnalyticsRepository(stored) if "chaos" in name else stored
