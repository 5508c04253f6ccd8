"""What operators see: counts, health and contents."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.redis_cache.inspection import CacheContents
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.stats import COUNTS, hit_rate
from tests.cache.conftest import BOUND_S, BRISK, QUIET, Caches, WatchedRepository
from tests.patience import eventually
from tests.proxies import Proxy, redis_commands
from tests.servers import OwnRedis
from tests.strategies import edition, new_id


async def test_every_read_and_write_is_counted_once(caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys) -> None:
    cache, session_id, unknown = await caches.open(), new_id(), new_id()
    await truth.inner.save(edition(session_id, 1))
    await cache.get(session_id)  # A miss, which is stored.
    await cache.get(session_id)
    await cache.get_document(session_id)
    await cache.get(unknown)  # A miss: absence is stored too.
    await cache.get(unknown)
    await cache.get_many([session_id, unknown, new_id()])  # Two hits and a miss.
    await cache.save(edition(session_id, 2))  # An acknowledged write, and a miss that warms.
    await cache.delete(session_id)
    await raw.set(keys.entry(session_id), b"not ours")
    await cache.get(session_id)  # Damage, and a miss.
    await raw.delete(keys.heartbeat)
    await cache.get_many([session_id, unknown])
    counts = cache.stats.counts()
    assert counts.pop("bytes_stored") > 5 * 64
    assert counts.pop("document_bytes") > 2 * counts.pop("payload_bytes") > 0
    assert counts == {
        "hits": 5,
        "absent_hits": 2,
        "misses": 5,
        "fills": 5,
        "invalidations": 2,
        "damaged": 1,
        "too_large": 0,
        "bypasses": 2,
        "bypasses_not_in_step": 2,
        "mgets": 7,
        "mget_keys": 7,
        "relay_passes": 1,
        "relay_changes": 0,
        "relay_epochs": 1,
    }
    assert hit_rate(counts) == pytest.approx(5 / 12)
    assert set(counts) - {"bypasses_not_in_step"} <= set(COUNTS)


def test_the_hit_rate_is_the_share_of_reads_that_redis_answered() -> None:
    assert hit_rate({}) is None
    assert hit_rate({"fills": 3}) is None
    assert hit_rate({"hits": 3}) == 1.0
    assert hit_rate({"misses": 3}) == 0.0
    assert hit_rate({"hits": 5, "followed": 1, "misses": 3, "bypasses": 3}) == 0.5


async def test_the_counts_of_all_processes_add_up(caches: Caches) -> None:
    one, other = await caches.open(), await caches.open()
    session_id = new_id()
    await one.save(edition(session_id, 1))
    for cache in (one, other):
        for _ in range(3):
            await cache.get(session_id)
    await one.aclose()
    contents = await other.contents()
    assert isinstance(contents, CacheContents)
    assert (contents.counts["hits"], contents.counts["misses"], contents.counts["invalidations"]) == (6, 1, 1)
    again = await other.contents()
    assert isinstance(again, CacheContents)
    assert again.counts == contents.counts
    assert set(COUNTS) <= contents.counts.keys()


async def test_contents_are_counted_and_measured(caches: Caches) -> None:
    cache = await caches.open()
    empty = await cache.contents()
    assert isinstance(empty, CacheContents)
    assert (empty.entries, empty.sampled_entries, empty.entry_bytes_mean) == (0, 0, None)
    for _ in range(7):
        await cache.save(edition(new_id(), 1))
    await cache.get(new_id())
    contents = await cache.contents()
    assert isinstance(contents, CacheContents)
    assert (contents.entries, contents.sampled_entries) == (8, 8)
    assert contents.entry_bytes_mean is not None
    assert 64 < contents.entry_bytes_mean < 20_000
    assert contents.server_memory_bytes > 0


async def test_a_huge_keyspace_is_not_walked(own_redis: OwnRedis, caches: Caches) -> None:
    async with Proxy.to_redis(own_redis.url) as proxy:
        cache = await caches.open(url=proxy.redis_url)
        await cache.save(edition(new_id(), 1))
        await cache._server.on(lambda client: client.mset({f"somebody:{number}": "x" for number in range(30_000)}))
        proxy.sent.clear()
        contents = await cache.contents()
        assert isinstance(contents, CacheContents)
        assert contents.entries is None
        assert redis_commands(proxy.sent).count("SCAN") <= 20
        await cache.aclose()


async def test_a_cache_in_step_is_healthy(caches: Caches) -> None:
    cache = await caches.open()
    health = await cache.health()
    assert (health.status, health.reason, health.breaker) == ("healthy", None, "closed")
    assert health.round_trip_ms is not None
    assert health.round_trip_ms > 0
    assert health.heartbeat_age_s is not None
    assert 0 <= health.heartbeat_age_s <= QUIET.heartbeat_s
    assert health.server is not None
    assert health.server.split()[0] in {"Redis", "Valkey"}


async def test_a_cache_out_of_step_is_degraded(caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys) -> None:
    cache = await caches.open()
    await raw.delete(keys.heartbeat)
    health = await cache.health()
    assert (health.status, health.reason, health.heartbeat_age_s) == ("degraded", "not in step with the database", None)
    assert await cache._relay.catch_up()
    assert (await cache.health()).status == "healthy"


async def test_a_cache_whose_truth_was_never_there_is_degraded(caches: Caches, truth: WatchedRepository) -> None:
    truth.feed_failing = True
    cache = await caches.open()
    assert (await cache.health()).status == "degraded"
    assert await cache.contents() == Unavailable("not_in_step")


async def test_a_cache_without_its_server_is_unhealthy(caches: Caches, closed_port: int) -> None:
    cache = await caches.open(BRISK, url=f"redis://127.0.0.1:{closed_port}/0")
    health = await cache.health()
    assert (health.status, health.heartbeat_age_s, health.server) == ("unhealthy", None, None)
    assert health.reason in {"connection", "timeout", "breaker_open"}
    assert isinstance(await cache.contents(), Unavailable)


async def test_health_is_told_again_when_the_server_is_back(own_redis: OwnRedis, caches: Caches) -> None:
    cache = await caches.open(BRISK, url=own_redis.url)
    assert (await cache.health()).status == "healthy"
    own_redis.stop()
    await asyncio.sleep(BOUND_S)
    assert (await cache.health()).status == "unhealthy"
    own_redis.cont()
    await eventually(cache.health, lambda health: health.status == "healthy")
