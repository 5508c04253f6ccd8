"""The sampler sees a cache that is older than it promises, and sees nothing of the kind in one that keeps its promise."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from adapters.redis_cache.keys import Keys
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.sampler import StalenessSampler
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository as Cached
from domain.ports import Changes, Freshness
from domain.session import SessionId
from tests.cache.conftest import BOUND_S, BRISK, QUIET, Caches, WatchedRepository
from tests.patience import eventually
from tests.proxies import Proxy, redis_commands
from tests.strategies import edition, new_id

NEAR: Final = replace(QUIET, near_entries_max=100, near_trust_s=1.0)


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def sampler_of(cache: Cached, truth: Any, clock: Clock, policy: CachePolicy = QUIET) -> StalenessSampler:
    """One like the cache's own, to be asked when the test says so."""
    return StalenessSampler(truth, cache._server, cache._near, replace(policy, heartbeat_s=2.0), cache.stats, clock=clock)


class Broken(WatchedRepository):
    """A truth whose change log tells nothing. The relay then vouches for what it has not heard of: a cache with its repair taken out."""

    async def changes_since(self, position: int | None) -> Changes:
        found = await super().changes_since(position)
        return found if position is None else Changes(found.position, ())


def sampled(cache: Cached) -> tuple[int, int, int]:
    counts = cache.stats.counts()
    return counts.get("sampled", 0), counts.get("sampled_outdated", 0), counts.get("sampled_beyond_bound", 0)


async def test_a_cache_in_step_is_compared_and_found_so(caches_over_either: Caches) -> None:
    caches = caches_over_either
    cache, clock, session_ids = await caches.open(), Clock(), [new_id() for _ in range(5)]
    sampler = sampler_of(cache, caches.truth, clock)
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
        await cache.get(session_id)
    await cache.delete(session_ids[0])
    for _ in range(3):
        clock.now_s += 5.0
        await sampler.look(await caches.keys())
    assert sampled(cache) == (12, 0, 0)
    assert sampler.stale_age_s == 0


async def test_an_entry_that_stays_outdated_is_noticed_and_its_age_grows(caches_over_either: Caches) -> None:
    caches = caches_over_either
    cache, clock, session_id, keys = await caches.open(), Clock(), new_id(), await caches.keys()
    sampler = sampler_of(cache, caches.truth, clock)
    await cache.save(edition(session_id, 1))
    await cache.get(session_id)
    await caches.truth.inner.save(edition(session_id, 2))  # Nobody tells the cache: its relay passes once in 20 s.
    clock.now_s += 5.0
    ages = []
    for _ in range(4):
        await sampler.look(keys)
        ages.append(sampler.stale_age_s)
        clock.now_s += 1.0
    assert ages == [0.0, 1.0, 2.0, 3.0]  # From when it was first seen.
    assert sampled(cache) == (4, 4, 1)
    assert cache.stats.snapshot().histograms["stale_age_s"].count == 4
    assert await cache._relay.catch_up()
    await sampler.look(keys)
    assert sampler.stale_age_s == 0


async def test_a_copy_in_the_process_is_compared_too(caches: Caches, truth: WatchedRepository, keys: Keys) -> None:
    cache, clock, session_id = await caches.open(replace(NEAR, near_trust_s=3600.0)), Clock(), new_id()
    sampler = sampler_of(cache, truth, clock, NEAR)
    await cache.save(edition(session_id, 1))
    await cache.get(session_id, freshness=Freshness.FRESH)
    await truth.inner.save(edition(session_id, 2))
    await cache._relay.catch_up()  # Redis is in step; the copy is not.
    clock.now_s += 5.0
    for _ in range(2):
        await sampler.look(keys)
        clock.now_s += 2.5
    assert sampled(cache) == (2, 2, 0)  # A copy is allowed the time that it is trusted, beyond Redis's bound of 2 s.
    clock.now_s += 1.0
    await sampler.look(keys)
    assert sampled(cache) == (3, 3, 1)


async def test_what_redis_holds_and_no_read_would_believe_is_not_compared(
    caches: Caches, truth: WatchedRepository, keys: Keys, raw: Any
) -> None:
    cache, clock, session_id = await caches.open(), Clock(), new_id()
    sampler = sampler_of(cache, truth, clock)
    await cache.save(edition(session_id, 1))
    await cache.get(session_id)
    await truth.inner.save(edition(session_id, 2))
    await raw.delete(keys.heartbeat)
    clock.now_s += 5.0
    await sampler.look(keys)
    await raw.set(keys.heartbeat, b"another!")
    clock.now_s += 5.0
    await sampler.look(keys)
    assert sampled(cache) == (0, 0, 0)


@pytest.mark.parametrize("spoilt", [b"", b"short", b"x" * 64, b"EMGA\x01" + b"\xff" * 100])
async def test_what_is_no_entry_is_not_compared(caches: Caches, truth: WatchedRepository, keys: Keys, raw: Any, spoilt: bytes) -> None:
    cache, clock, spoilt_id, good_id, listed_id = await caches.open(), Clock(), new_id(), new_id(), new_id()
    sampler = sampler_of(cache, truth, clock)
    for session_id in (spoilt_id, good_id, listed_id):
        await cache.save(edition(session_id, 1))
        await cache.get(session_id)
    await raw.set(keys.entry(spoilt_id), spoilt)
    await raw.delete(keys.entry(listed_id))
    await raw.rpush(keys.entry(listed_id), "of another type")
    clock.now_s += 5.0
    await sampler.look(keys)
    assert sampled(cache) == (1, 0, 0)


async def test_a_truth_that_went_back_is_not_held_against_the_cache(caches: Caches, truth: WatchedRepository, keys: Keys) -> None:
    cache, clock, session_id = await caches.open(), Clock(), new_id()
    sampler = sampler_of(cache, truth, clock)
    await cache.save(edition(session_id, 1))
    await cache.get(session_id)
    await truth.inner.save(edition(session_id, 2))
    clock.now_s += 5.0
    await sampler.look(keys)
    inner: Any = truth.inner
    inner._versions[session_id] = 1  # As after a restore from backup.
    clock.now_s += 10
    await sampler.look(keys)
    assert (sampled(cache), sampler.stale_age_s) == ((2, 1, 0), 0.0)


async def test_an_entry_that_was_renewed_and_is_outdated_again_is_not_taken_for_the_same(
    caches: Caches, truth: WatchedRepository, keys: Keys
) -> None:
    cache, clock, session_id = await caches.open(), Clock(), new_id()
    sampler = sampler_of(cache, truth, clock)
    await cache.save(edition(session_id, 0))
    await cache.get(session_id)
    for number in (1, 2, 3):
        await truth.inner.save(edition(session_id, number))
        clock.now_s += 5.0
        await sampler.look(keys)
        assert sampler.stale_age_s == 0
        await cache._relay.catch_up()
        await cache.get(session_id)
    assert sampled(cache) == (3, 3, 0)


async def test_without_redis_or_the_truth_there_is_nothing_to_compare(own_redis: Any, caches: Caches, truth: WatchedRepository) -> None:
    cache, clock, session_id, keys = await caches.open(BRISK, url=own_redis.url), Clock(), new_id(), await caches.keys()
    sampler = sampler_of(cache, truth, clock)
    await cache.save(edition(session_id, 1))
    await cache.get(session_id)
    truth.feed_failing = True
    clock.now_s += 5.0
    await sampler.look(keys)
    truth.feed_failing = False
    own_redis.kill()
    clock.now_s += 5.0
    await sampler.look(keys)
    assert sampled(cache) == (0, 0, 0)


async def test_a_look_is_one_small_exchange_whatever_was_read(caches: Caches, truth: WatchedRepository, redis_url: str) -> None:
    async with Proxy.to_redis(redis_url) as proxy:
        cache, clock, keys = await caches.open(url=proxy.redis_url), Clock(), await caches.keys()
        sampler = sampler_of(cache, truth, clock)
        await sampler.look(keys)
        assert sampled(cache) == (0, 0, 0)
        session_ids = [new_id() for _ in range(200)]
        for session_id in session_ids:
            await cache.save(edition(session_id, 1))
            await cache.get(session_id)
        proxy.sent.clear()
        await sampler.look(keys)
        commands = redis_commands(proxy.sent)
        assert (commands.count("MULTI"), commands.count("EXEC"), commands.count("GETRANGE"), commands.count("GET")) == (1, 1, 50, 1)
        assert sampled(cache) == (50, 0, 0)
        await cache.aclose()


async def test_what_is_outdated_is_looked_at_again_soon(caches: Caches, truth: WatchedRepository, keys: Keys) -> None:
    cache, clock, session_id = await caches.open(), Clock(), new_id()
    sampler = sampler_of(cache, truth, clock)  # Its bound is 2 s.
    assert sampler.pause_s() == QUIET.sampler_s == 5.0
    await cache.save(edition(session_id, 1))
    await cache.get(session_id)
    await truth.inner.save(edition(session_id, 2))
    await sampler.look(keys)
    assert sampler.pause_s() == 0.5
    assert await cache._relay.catch_up()
    await sampler.look(keys)
    assert sampler.pause_s() == 5.0


async def test_what_is_suspected_is_bounded(caches: Caches, truth: WatchedRepository, keys: Keys) -> None:
    cache, clock = await caches.open(), Clock()
    sampler = sampler_of(cache, truth, clock)
    for _ in range(8):
        session_ids = [new_id() for _ in range(50)]
        for session_id in session_ids:
            await cache.save(edition(session_id, 1))
            await cache.get(session_id)
            await truth.inner.save(edition(session_id, 2))
        await sampler.look(keys)
    assert sampled(cache) == (50 + 100 + 150 + 5 * 200,) * 2 + (0,)


async def test_it_is_off_where_its_setting_is_zero(caches: Caches) -> None:
    cache = await caches.open(replace(QUIET, sampler_s=0.0))
    assert cache._keeping._sampler.pause_s() is None
    assert cache._keeping.sampling is not None
    await asyncio.wait_for(cache._keeping.sampling, 10)  # Ends by itself.


# In the cache's own task, with time as it passes


async def write_past_the_cache(cache: Cached, truth: WatchedRepository, session_ids: list[SessionId], rounds: int) -> None:
    """Edits as from psql, with reads in between."""
    for number in range(2, 2 + rounds):
        for session_id in session_ids:
            await truth.inner.save(edition(session_id, number))
            await cache.get(session_id)
        await asyncio.sleep(0.05)


async def test_a_cache_whose_relay_hears_nothing_is_found_staler_than_promised(caches: Caches) -> None:
    broken = Broken(caches.truth.inner)
    policy = replace(BRISK, sampler_s=0.05)
    cache, session_ids = await caches.open(policy, truth=broken), [new_id() for _ in range(3)]
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    await write_past_the_cache(cache, broken, session_ids, 3)

    async def found() -> Any:
        return cache.stats.snapshot()

    snapshot = await eventually(found, lambda snapshot: snapshot.counters["sampled_beyond_bound"] > 0)
    assert snapshot.gauges["stale_age_s"] > BOUND_S
    assert snapshot.histograms["stale_age_s"].percentile_s(100) > BOUND_S / 1.6


@pytest.mark.parametrize("near_entries_max", [0, 100])
async def test_a_cache_that_works_is_never_found_staler_than_promised(caches_over_either: Caches, near_entries_max: int) -> None:
    caches = caches_over_either
    policy = replace(BRISK, sampler_s=0.05, near_entries_max=near_entries_max, near_trust_s=0.2)
    cache, session_ids = await caches.open(policy), [new_id() for _ in range(3)]
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    await write_past_the_cache(cache, caches.truth, session_ids, 60)
    counts = cache.stats.counts()
    assert counts["sampled"] > 0
    assert counts.get("sampled_outdated", 0) > 0, "nothing was ever outdated, so this test showed nothing"
    assert counts.get("sampled_beyond_bound", 0) == 0
