"""A Redis that is stopped keeps its connections and answers nothing: a few reads wait for a deadline, once, and the rest go on without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from adapters.redis_cache.breaker import BreakerState
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from domain.ports import Freshness
from domain.session import SessionId
from tests.faults.conftest import Scene
from tests.patience import eventually
from tests.proxies import Proxy, redis_commands
from tests.servers import OwnRedis
from tests.strategies import edition, new_id

CALLERS = 20
ROUNDS = 12
# Whoever waited for a connection to a frozen server would wait beyond the end of the test. No probe within it, either.
CLOSED_FOR_LONG = CachePolicy(near_entries_max=0, heartbeat_s=60.0, command_s=0.1, connect_s=300.0, open_s=300.0)
PROBING = replace(CLOSED_FOR_LONG, connect_s=0.1, open_s=0.1)


@asynccontextmanager
async def frozen(
    scene: Scene, own_redis: OwnRedis, policy: CachePolicy
) -> AsyncIterator[tuple[RedisCachedSessionAnalyticsRepository, list[SessionId], Proxy]]:
    """A cache that had every session in Redis, when Redis froze; what it sent since then."""
    session_ids = [new_id() for _ in range(CALLERS)]
    async with Proxy.to_redis(own_redis.url) as proxy:
        _, cache = await scene.cache(proxy.redis_url, policy, "A")
        for session_id in session_ids:
            await cache.save(edition(session_id, 1))
        answers = await asyncio.gather(*(cache.get(session_id) for session_id in session_ids))
        assert {answer.source for answer in answers if answer} == {"redis"}
        own_redis.stop()
        proxy.sent.clear()
        try:
            yield cache, session_ids, proxy
        finally:
            own_redis.cont()
            await cache.aclose()


async def read_all(cache: RedisCachedSessionAnalyticsRepository, session_ids: list[SessionId], how: str) -> None:
    if how == "get_many":  # One exchange.
        assert len(await cache.get_many(session_ids, freshness=Freshness.FRESH)) == len(session_ids)
        return
    asked: list[Any] = [getattr(cache, how)(session_id, freshness=Freshness.FRESH) for session_id in session_ids]
    assert all(await asyncio.gather(*asked))


def waited(cache: RedisCachedSessionAnalyticsRepository) -> int:
    """Reads that learned of the freeze by waiting."""
    counts = cache.stats.counts()
    return counts.get("bypasses_slow", 0) + counts.get("bypasses_timeout", 0)


@pytest.mark.parametrize("how", ["get", "get_document", "get_many"])
async def test_no_more_rounds_of_reads_wait_than_it_takes_to_open_the_breaker(scene: Scene, own_redis: OwnRedis, how: str) -> None:
    async with frozen(scene, own_redis, CLOSED_FOR_LONG) as (cache, session_ids, _):
        rounds = []
        for _ in range(ROUNDS):
            before = waited(cache)
            await read_all(cache, session_ids, how)
            rounds.append(waited(cache) - before)
        assert 0 < sum(map(bool, rounds)) <= CLOSED_FOR_LONG.failures_to_open, rounds
        assert not any(rounds[CLOSED_FOR_LONG.failures_to_open :]), rounds


async def test_writes_wait_no_longer_for_a_frozen_redis_than_for_one_command(scene: Scene, own_redis: OwnRedis) -> None:
    async with frozen(scene, own_redis, CLOSED_FOR_LONG) as (cache, session_ids, proxy):
        for number in range(ROUNDS):  # One at a time: no two learn of it at once.
            assert not (await cache.save(edition(session_ids[0], 2 + number))).fresh
        assert cache._server.breaker_state is BreakerState.OPEN
        sent = len(proxy.sent)
        await cache.save(edition(session_ids[0], 100))
        assert len(proxy.sent) == sent


async def test_while_the_breaker_is_open_probes_are_few_and_no_read_waits_for_one(scene: Scene, own_redis: OwnRedis) -> None:
    clock = asyncio.get_running_loop().time
    async with frozen(scene, own_redis, PROBING) as (cache, session_ids, proxy):

        async def state() -> BreakerState:
            await cache.get(session_ids[0], freshness=Freshness.FRESH)
            return cache._server.breaker_state

        await eventually(state, lambda state: state is BreakerState.OPEN)
        proxy.sent.clear()
        began_s, before = clock(), waited(cache)
        reads = 0
        while redis_commands(proxy.sent).count("HELLO") < 4:
            await read_all(cache, session_ids, "get")
            reads += len(session_ids)
        probes = redis_commands(proxy.sent).count("HELLO")
        assert waited(cache) == before
        assert probes <= 1 + (clock() - began_s) / (0.8 * PROBING.open_s)
        assert "MGET" not in redis_commands(proxy.sent)
        assert reads >= 4 * CALLERS

        own_redis.cont()

        async def source() -> str:
            answer = await cache.get(session_ids[0], freshness=Freshness.FRESH)
            assert answer is not None
            return answer.source

        await eventually(source, lambda source: source == "redis")


@pytest.mark.parametrize("frozen_s", [0.3, 1.0])
async def test_a_lease_that_a_frozen_redis_grants_when_it_thaws_is_given_back(scene: Scene, own_redis: OwnRedis, frozen_s: float) -> None:
    """Its asker has long gone: until the lease ends nobody could store the session."""
    policy = CachePolicy(near_entries_max=0, heartbeat_s=60.0, lease_s=300.0, command_s=0.1, connect_s=0.2, open_s=0.1)
    _, cache = await scene.cache(own_redis.url, policy, "A")
    session_id, other = new_id(), new_id()
    assert await cache.get(other) is None
    own_redis.stop()
    keys = cache._relay.partitions[0]
    assert keys is not None
    asked = await cache._leases.acquire(keys, [session_id], b"an epoch")
    assert asked.grants == {session_id: "unavailable"}
    await asyncio.sleep(frozen_s)
    own_redis.cont()

    async def source() -> str | None:
        await cache.save(edition(other, 1))
        await scene.truth.save(edition(session_id, 1))
        answer = await cache.get(session_id)
        return None if answer is None else answer.source

    await eventually(source, lambda source: source == "redis")
