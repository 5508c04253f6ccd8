"""Opening and closing: nothing is left behind, whatever happened in between."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import redis.asyncio

from adapters.redis_cache.compose import cached
from adapters.redis_cache.keys import Keys
from domain.errors import StorageUnavailable
from tests.cache.conftest import BRISK, QUIET, Caches, WatchedRepository
from tests.leases import held_leases
from tests.patience import eventually
from tests.servers import OwnRedis
from tests.strategies import edition, new_id


async def test_closing_leaves_no_task_no_connection_and_no_lease(own_redis: OwnRedis, truth: WatchedRepository, redis_prefix: str) -> None:
    before = asyncio.all_tasks()
    raw: Any = redis.asyncio.Redis.from_url(own_redis.url)
    alone = len(await raw.client_list())
    cache = cached(truth, truth, redis_url=own_redis.url, key_prefix=redis_prefix, policy=QUIET)
    await cache.open()
    session_ids = [new_id() for _ in range(30)]
    await asyncio.gather(*(cache.save(edition(session_id, 1)) for session_id in session_ids))
    await asyncio.gather(*(cache.get(session_id) for session_id in session_ids))
    # Readers are cancelled in the midst, and the truth fails others: their leases are on the way back when the cache is closed.
    truth.open.clear()
    unknown = [new_id() for _ in range(10)]
    reading = [asyncio.create_task(cache.get(session_id)) for session_id in unknown]
    await eventually(lambda: _leases(raw, redis_prefix), lambda count: count == 10)
    for task in reading[:5]:
        task.cancel()
    truth.failing = True
    truth.open.set()
    for task in reading:
        with suppress(asyncio.CancelledError, StorageUnavailable):
            await task
    await cache.aclose()
    assert asyncio.all_tasks() == before
    assert await _leases(raw, redis_prefix) == 0
    await eventually(raw.client_list, lambda clients: len(clients) == alone)
    await raw.aclose()


async def _leases(raw: Any, prefix: str) -> int:
    return len(await held_leases(raw, prefix))


async def test_closing_twice_is_closing_once(caches: Caches) -> None:
    cache = await caches.open()
    await cache.save(edition(new_id(), 1))
    await cache.aclose()
    await cache.aclose()


async def test_closing_what_was_never_opened_is_no_error(truth: WatchedRepository, redis_url: str, redis_prefix: str) -> None:
    cache = cached(truth, truth, redis_url=redis_url, key_prefix=redis_prefix, policy=QUIET)
    await cache.aclose()


async def test_reading_before_opening_asks_the_truth(truth: WatchedRepository, redis_url: str, redis_prefix: str) -> None:
    cache, session_id = cached(truth, truth, redis_url=redis_url, key_prefix=redis_prefix, policy=QUIET), new_id()
    receipt = await cache.save(edition(session_id, 1))
    assert not receipt.fresh
    assert await cache.get(session_id) is not None
    await cache.aclose()


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_closing_does_not_wait_for_a_server_that_is_gone(
    own_redis: OwnRedis, truth: WatchedRepository, redis_prefix: str, how: str
) -> None:
    before = asyncio.all_tasks()
    cache = cached(truth, truth, redis_url=own_redis.url, key_prefix=redis_prefix, policy=BRISK)
    await cache.open()
    await cache.save(edition(new_id(), 1))
    if how == "frozen":
        own_redis.stop()
    else:
        own_redis.kill()
    async with asyncio.timeout(10):
        await cache.aclose()
    assert asyncio.all_tasks() == before


async def test_the_relay_goes_on_through_everything(caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys) -> None:
    cache = await caches.open(BRISK)
    assert cache._keeping.relaying is not None
    for name in (keys.position, keys.heartbeat, keys.mark):
        await raw.delete(name)
        await raw.hset(name, "not", "ours")
    truth.feed_failing = True
    await asyncio.sleep(0.3)
    truth.feed_failing = False
    assert not cache._keeping.relaying.done()
    await eventually(cache.inspection.health, lambda health: health.status == "healthy")


async def test_counts_of_another_type_do_not_end_the_relay(caches: Caches, raw: Any, keys: Keys) -> None:
    await raw.set(keys.counters, b"not ours")
    cache = await caches.open(BRISK)
    await cache.get(new_id())
    await asyncio.sleep(0.3)
    assert cache._keeping.relaying is not None
    assert not cache._keeping.relaying.done()
    assert (await cache.inspection.health()).status == "healthy"
    await cache.inspection.contents()


async def test_a_relay_that_loses_its_cancellation_is_cancelled_again(caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python 3.11's asyncio.wait_for loses it, which redis-py uses, if it comes just when what is waited for is done."""
    cache = await caches.open()
    lost = asyncio.Event()

    async def next_pass() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if lost.is_set():
                raise
            lost.set()

    await cache._keeping.end()
    monkeypatch.setattr(cache._relay, "next_pass", next_pass)
    await cache.open()
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await cache.aclose()
    assert lost.is_set()
