"""What operators see: counts, health and contents."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.redis_cache.findings import CacheContents
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.stats import COUNTS, NEAR_TIMED_EVERY, hit_rate
from domain.errors import StorageUnavailable
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
        "bypasses": 2,
        "bypasses_not_in_step": 2,
        "entry_commands": 7,
        "entry_keys": 7,
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
    contents = await other.inspection.contents()
    assert isinstance(contents, CacheContents)
    assert (contents.counts["hits"], contents.counts["misses"], contents.counts["invalidations"]) == (6, 1, 1)
    again = await other.inspection.contents()
    assert isinstance(again, CacheContents)
    assert again.counts == contents.counts
    assert set(COUNTS) <= contents.counts.keys()


async def test_the_times_of_all_processes_add_up_by_tier(caches: Caches) -> None:
    one, other = await caches.open(), await caches.open()
    session_id = new_id()
    await one.save(edition(session_id, 1))
    for cache in (one, other):
        for _ in range(3):
            await cache.get(session_id)
        await cache.get_document(session_id)
    await one.aclose()
    contents = await other.inspection.contents()
    assert isinstance(contents, CacheContents)
    times = contents.as_document()["latencies"]
    assert {tier: found["count"] for tier, found in times.items()} == {"near": 0, "redis": 8, "database": 1}
    assert 0 < times["redis"]["p50_s"] <= times["redis"]["p95_s"] <= times["redis"]["p99_s"]
    assert times["near"]["p50_s"] is None
    assert contents.histograms["latency_redis_s"].sum_s > 0


async def test_near_hits_are_timed_one_in_many(caches: Caches) -> None:
    cache, session_id = await caches.open(replace(QUIET, near_entries_max=10, near_trust_s=60.0)), new_id()
    await cache.save(edition(session_id, 1))
    for _ in range(2 * NEAR_TIMED_EVERY):
        await cache.get(session_id)
        await cache.get_many([session_id])
        await cache.get_document(session_id)
    snapshot = cache.stats.snapshot()
    assert snapshot.counters["near_hits"] == 6 * NEAR_TIMED_EVERY
    assert 0 < snapshot.histograms["latency_near_s"].count <= 6  # Batches are counted, and not timed.
    assert snapshot.gauges["near_entries"] == 1
    assert snapshot.gauges["near_bytes"] > 0


async def test_statistics_are_plain_values_that_json_can_hold(caches: Caches) -> None:
    cache = await caches.open()
    await cache.save(edition(new_id(), 1))
    contents = await cache.inspection.contents()
    assert isinstance(contents, CacheContents)
    found = json.loads(json.dumps(contents.as_document(), allow_nan=False))
    assert found["performance_stats"]["hit_rate"] == 0.0
    assert found["performance_stats"].keys() >= set(COUNTS)
    assert found["compression_ratio"] > 1
    assert 0 <= found["heartbeat_age_s"] <= QUIET.heartbeat_s
    assert found["this_process"].keys() == {"breaker_state", "near_bytes", "near_entries", "relay_lag_s", "stale_age_s"}
    assert found["stale_ages"]["count"] == 0


async def test_reads_that_joined_others_are_counted(caches: Caches, truth: WatchedRepository) -> None:
    cache, session_id = await caches.open(), new_id()
    await cache.save(edition(session_id, 1))
    before = cache.stats.snapshot().counters
    await asyncio.gather(*(cache.get(session_id) for _ in range(10)))
    after = cache.stats.snapshot().counters
    grown = {name: after[name] - before[name] for name in COUNTS if after[name] != before[name]}
    assert grown == {"hits": 10, "entry_commands": 1, "entry_keys": 1, "reads_joined": 9}


async def test_reads_past_redis_that_had_one_statement_are_counted(caches: Caches, truth: WatchedRepository, closed_port: int) -> None:
    cache, session_id = await caches.open(BRISK, url=f"redis://127.0.0.1:{closed_port}/0"), new_id()
    truth.open.clear()
    reading = [asyncio.create_task(cache.get(session_id)) for _ in range(10)]
    await truth.waiting.wait()
    await asyncio.sleep(0)
    truth.open.set()
    await asyncio.gather(*reading)
    counts = cache.stats.counts()
    assert counts["bypasses"] == 10
    assert (counts["database_gathered"], len(truth.reads)) == (9, 2)  # The first of a turn has a statement of its own.


async def test_a_failing_truth_is_counted_by_kind_and_not_timed(caches: Caches, truth: WatchedRepository) -> None:
    cache = await caches.open()
    truth.failing = True
    for read in (cache.get(new_id()), cache.get_many([new_id(), new_id()]), cache.get_document(new_id())):
        with pytest.raises(StorageUnavailable):
            await read
    snapshot = cache.stats.snapshot()
    assert snapshot.counters["database_unavailable"] == 3
    assert snapshot.histograms["latency_database_s"].count == 0


async def test_a_failing_redis_is_counted_by_kind_and_so_is_the_breaker(own_redis: OwnRedis, caches: Caches) -> None:
    cache, session_id = await caches.open(BRISK, url=own_redis.url), new_id()
    await cache.save(edition(session_id, 1))
    own_redis.stop()
    while cache.stats.snapshot().gauges["breaker_state"] == 0:
        await cache.get(session_id)
    own_redis.cont()

    async def closed_again() -> float:
        await cache.get(session_id)
        return cache.stats.snapshot().gauges["breaker_state"]

    await eventually(closed_again, lambda state: state == 0)
    counts = cache.stats.snapshot().counters
    assert counts["redis_timeouts"] >= BRISK.failures_to_open
    assert counts["breaker_opened"] >= 1
    assert counts["breaker_closed"] >= 1


async def test_a_redis_that_says_no_is_counted_as_that(own_redis: OwnRedis, caches: Caches) -> None:
    cache, session_id = await caches.open(QUIET, url=own_redis.url), new_id()
    await cache.save(edition(session_id, 1))
    await cache._server.on("", lambda client: client.config_set("maxmemory", "1"))
    await cache._relay.catch_up()
    counts = cache.stats.snapshot().counters
    assert counts["redis_refusals"] >= 1
    assert counts["relay_passes_failed"] >= 1
    assert counts["breaker_opened"] == 0


async def test_the_relay_counts_what_it_was_told(caches: Caches, truth: WatchedRepository) -> None:
    one, other = await caches.open(), await caches.open()
    for _ in range(3):
        await truth.inner.save(edition(new_id(), 1))
    assert await one._relay.catch_up()
    assert await other._relay.catch_up(unless_newer_than_s=30.0)
    assert await one._relay.catch_up()
    counts = [cache.stats.snapshot().counters for cache in (one, other)]
    assert [count["relay_epochs"] for count in counts] == [1, 0]
    assert [count["relay_changes"] for count in counts] == [3, 0]
    assert [count["relay_passes"] for count in counts] == [3, 0]
    assert [count["relay_passes_spared"] for count in counts] == [0, 2]
    assert all(0 <= cache.stats.snapshot().gauges["relay_lag_s"] < 60 for cache in (one, other))


async def test_health_tells_how_long_the_relay_has_not_passed(caches: Caches, truth: WatchedRepository) -> None:
    cache = await caches.open()
    begun = (await cache.inspection.health()).relay_lag_s
    truth.feed_failing = True
    assert not await cache._relay.catch_up()
    later = (await cache.inspection.health()).relay_lag_s
    assert begun is not None
    assert later is not None
    assert 0 <= begun < later
    never = await caches.open(prefix=f"{caches.prefix}_never")
    assert (await never.inspection.health()).relay_lag_s is None


async def test_contents_are_counted_and_measured(caches: Caches) -> None:
    cache = await caches.open()
    empty = await cache.inspection.contents()
    assert isinstance(empty, CacheContents)
    assert (empty.entries, empty.sampled_entries, empty.entry_bytes_mean) == (0, 0, None)
    for _ in range(7):
        await cache.save(edition(new_id(), 1))
    await cache.get(new_id())
    contents = await cache.inspection.contents()
    assert isinstance(contents, CacheContents)
    assert (contents.entries, contents.sampled_entries) == (8, 8)
    assert contents.entry_bytes_mean is not None
    assert 64 < contents.entry_bytes_mean < 20_000
    assert contents.server_memory_bytes > 0


async def test_a_huge_keyspace_is_not_walked(own_redis: OwnRedis, caches: Caches) -> None:
    async with Proxy.to_redis(own_redis.url) as proxy:
        cache = await caches.open(url=proxy.redis_url)
        await cache.save(edition(new_id(), 1))
        await cache._server.on("", lambda client: client.mset({f"somebody:{number}": "x" for number in range(30_000)}))
        proxy.sent.clear()
        contents = await cache.inspection.contents()
        assert isinstance(contents, CacheContents)
        assert contents.entries is None
        assert redis_commands(proxy.sent).count("SCAN") <= 20
        await cache.aclose()


async def test_a_cache_in_step_is_healthy(caches: Caches) -> None:
    cache = await caches.open()
    health = await cache.inspection.health()
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
    health = await cache.inspection.health()
    assert (health.status, health.reason, health.heartbeat_age_s) == ("degraded", "not in step with the database", None)
    assert await cache._relay.catch_up()
    assert (await cache.inspection.health()).status == "healthy"


async def test_a_cache_whose_truth_was_never_there_is_degraded(caches: Caches, truth: WatchedRepository) -> None:
    truth.feed_failing = True
    cache = await caches.open()
    assert (await cache.inspection.health()).status == "degraded"
    assert await cache.inspection.contents() == Unavailable("not_in_step")


async def test_a_cache_without_its_server_is_unhealthy(caches: Caches, closed_port: int) -> None:
    cache = await caches.open(BRISK, url=f"redis://127.0.0.1:{closed_port}/0")
    health = await cache.inspection.health()
    assert (health.status, health.heartbeat_age_s, health.server) == ("unhealthy", None, None)
    assert health.reason in {"connection", "timeout", "breaker_open"}
    assert isinstance(await cache.inspection.contents(), Unavailable)


async def test_health_is_told_again_when_the_server_is_back(own_redis: OwnRedis, caches: Caches) -> None:
    cache = await caches.open(BRISK, url=own_redis.url)
    assert (await cache.inspection.health()).status == "healthy"
    own_redis.stop()
    await asyncio.sleep(BOUND_S)
    assert (await cache.inspection.health()).status == "unhealthy"
    own_redis.cont()
    await eventually(cache.inspection.health, lambda health: health.status == "healthy")
