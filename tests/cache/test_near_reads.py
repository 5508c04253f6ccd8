"""The near cache inside the repository, and reads that share their work."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from adapters.redis_cache.policy import CachePolicy
from domain.errors import StorageUnavailable
from domain.ports import Freshness
from tests.cache.conftest import BOUND_S, Caches
from tests.patience import eventually
from tests.servers import OwnRedis
from tests.strategies import some_analytics

NEAR = CachePolicy(heartbeat_s=60.0, near_trust_s=60.0, command_s=2.0, connect_s=2.0)
BRISK_NEAR = CachePolicy(heartbeat_s=BOUND_S, near_trust_s=0.3, command_s=0.1, connect_s=0.2, open_s=0.1)


async def test_a_second_read_is_answered_from_near(caches: Caches) -> None:
    cache = await caches.open(NEAR)
    analytics = some_analytics()
    await cache.save(analytics)
    answers = [await cache.get(analytics.session_id) for _ in range(3)]
    assert [answer.source for answer in answers if answer] == ["near"] * 3
    assert answers[0] is not None
    assert answers[0].analytics is answers[1].analytics  # type: ignore[union-attr]


async def test_a_fresh_read_asks_redis_and_spares_the_decoding(caches: Caches) -> None:
    cache = await caches.open(NEAR)
    analytics = some_analytics()
    await cache.save(analytics)
    near = await cache.get(analytics.session_id)
    fresh = await cache.get(analytics.session_id, freshness=Freshness.FRESH)
    assert near is not None
    assert fresh is not None
    assert fresh.source == "redis"
    assert fresh.analytics is near.analytics


async def test_a_fresh_read_sees_what_another_process_wrote(caches: Caches) -> None:
    one, other = await caches.open(NEAR), await caches.open(NEAR)
    analytics = some_analytics()
    await one.save(analytics)
    await other.get(analytics.session_id)
    changed = replace(analytics, recording=replace(analytics.recording, file_name="another.c3d"))
    receipt = await one.save(changed)
    assert receipt.fresh
    fresh = await other.get(analytics.session_id, freshness=Freshness.FRESH)
    assert fresh is not None
    assert fresh.analytics == changed
    bounded = await other.get(analytics.session_id)
    assert bounded is not None
    assert bounded.analytics == changed, "a fresh read renews the copy for everybody"


async def test_our_own_write_is_seen_at_once_by_every_read(caches: Caches) -> None:
    cache = await caches.open(NEAR)
    analytics = some_analytics()
    for number in range(5):
        changed = replace(analytics, recording=replace(analytics.recording, file_name=f"{number}.c3d"))
        await cache.save(changed)
        answer = await cache.get(analytics.session_id)
        assert answer is not None
        assert answer.analytics == changed
    await cache.delete(analytics.session_id)
    assert await cache.get(analytics.session_id) is None


async def test_a_version_already_seen_is_never_undercut_by_a_copy(caches: Caches) -> None:
    one, other = await caches.open(NEAR), await caches.open(NEAR)
    analytics = some_analytics()
    await one.save(analytics)
    await other.get(analytics.session_id)
    receipt = await one.save(replace(analytics, recording=replace(analytics.recording, file_name="another.c3d")))
    answer = await other.get(analytics.session_id, at_least=receipt.version)
    assert answer is not None
    assert answer.version == receipt.version


async def test_a_write_past_every_cache_is_seen_within_bound_and_trust(caches_over_either: Caches) -> None:
    cache = await caches_over_either.open(BRISK_NEAR)
    analytics = some_analytics()
    await cache.save(analytics)
    changed = replace(analytics, recording=replace(analytics.recording, file_name="another.c3d"))
    await cache.get(analytics.session_id)
    await caches_over_either.truth.inner.save(changed)

    async def file_name() -> str | None:
        answer = await cache.get(analytics.session_id)
        return None if answer is None else answer.analytics.recording.file_name

    await eventually(file_name, lambda name: name == "another.c3d", within_s=BOUND_S + 0.3 + 2.0)


async def test_documents_come_from_near_as_they_are_stored(caches: Caches) -> None:
    cache = await caches.open(NEAR)
    analytics = some_analytics()
    await cache.save(analytics)
    near = await cache.get_document(analytics.session_id)
    stored = await cache.get_document(analytics.session_id, freshness=Freshness.FRESH)
    assert near is not None
    assert stored is not None
    assert (near.source, stored.source) == ("near", "redis")
    assert (near.body, near.coding, near.version) == (stored.body, stored.coding, stored.version)


async def test_a_batch_takes_what_is_near_and_asks_for_the_rest(caches: Caches) -> None:
    cache = await caches.open(NEAR)
    several = [some_analytics() for _ in range(3)]
    for analytics in several:
        await caches.truth.inner.save(analytics)
    await cache.get(several[1].session_id)
    caches.truth.reads.clear()
    answers = await cache.get_many([analytics.session_id for analytics in several])
    assert list(answers) == [analytics.session_id for analytics in several]
    assert caches.truth.reads == [(several[0].session_id, several[2].session_id)]


async def test_fifty_callers_in_each_of_two_processes_load_a_cold_session_once(caches: Caches) -> None:
    one, other = await caches.open(NEAR), await caches.open(NEAR)
    analytics = some_analytics()
    await caches.truth.inner.save(analytics)
    caches.truth.reads.clear()
    answers = await asyncio.gather(*(cache.get(analytics.session_id) for cache in (one, other) for _ in range(50)))
    assert all(answer is not None and answer.analytics == analytics for answer in answers)
    assert len(caches.truth.reads) == 1


async def test_whoever_joins_a_load_that_a_write_overtook_reads_again(caches: Caches) -> None:
    cache = await caches.open(NEAR)
    analytics = some_analytics()
    await caches.truth.inner.save(analytics)
    caches.truth.may_answer.clear()
    slow = asyncio.create_task(cache.get(analytics.session_id))
    await caches.truth.loaded.wait()
    changed = replace(analytics, recording=replace(analytics.recording, file_name="another.c3d"))
    saving = asyncio.create_task(cache.save(changed))
    await asyncio.sleep(0.05)
    late = asyncio.create_task(cache.get(analytics.session_id, freshness=Freshness.FRESH))
    await asyncio.sleep(0.05)
    caches.truth.may_answer.set()
    assert (await saving).fresh
    await slow
    answer = await late
    assert answer is not None
    assert answer.analytics == changed


async def test_cancelling_the_caller_who_loads_cancels_nobody_else(caches: Caches) -> None:
    cache = await caches.open(NEAR)
    analytics = some_analytics()
    await caches.truth.inner.save(analytics)
    caches.truth.open.clear()
    first = asyncio.create_task(cache.get(analytics.session_id))
    await caches.truth.waiting.wait()
    second = asyncio.create_task(cache.get(analytics.session_id))
    await asyncio.sleep(0.02)
    first.cancel()
    await asyncio.sleep(0.02)
    caches.truth.open.set()
    answer = await second
    assert answer is not None
    assert answer.analytics == analytics
    assert first.cancelled()


async def test_a_failing_truth_is_an_error_unless_stale_answers_are_allowed(caches: Caches, own_redis: OwnRedis) -> None:
    policy = replace(BRISK_NEAR, fail_safe_s=60.0)
    strict, forgiving = await caches.open(BRISK_NEAR, url=own_redis.url), await caches.open(policy, url=own_redis.url)
    analytics = some_analytics()
    await strict.save(analytics)
    await forgiving.get(analytics.session_id)
    caches.truth.failing = caches.truth.feed_failing = True
    await asyncio.sleep(BOUND_S + 0.5)
    with pytest.raises(StorageUnavailable):
        await strict.get(analytics.session_id)
    for _ in range(2):
        answer = await forgiving.get(analytics.session_id)
        assert answer is not None
        assert answer.stale
        assert answer.age_s > BOUND_S
        assert answer.analytics == analytics
        own_redis.kill()  # The second time there is but the process's own copy.
    caches.truth.failing = caches.truth.feed_failing = False
    recovered = await forgiving.get(analytics.session_id)
    assert recovered is not None
    assert not recovered.stale


async def test_an_entry_near_its_end_is_renewed_in_the_background(caches: Caches) -> None:
    cache = await caches.open(replace(NEAR, near_entries_max=0, ttl_s=10.0, refresh_fraction=0.1, absent_ttl_s=1.0))
    analytics = some_analytics()
    await cache.save(analytics)
    await asyncio.sleep(1.2)
    caches.truth.reads.clear()
    old = await cache.get(analytics.session_id)
    assert old is not None
    assert old.source == "redis"

    async def age_s() -> float:
        answer = await cache.get(analytics.session_id)
        assert answer is not None
        return answer.age_s

    await eventually(age_s, lambda age: age < 1.0)
    assert len(caches.truth.reads) == 1


async def test_forgetting_makes_the_next_read_ask_the_truth(caches: Caches) -> None:
    cache = await caches.open(NEAR)
    several = [some_analytics() for _ in range(2)]
    for analytics in several:
        await cache.save(analytics)
    caches.truth.reads.clear()
    assert await cache.forget(several[0].session_id)
    await cache.get(several[0].session_id)
    assert caches.truth.reads == [(several[0].session_id,)]
    assert await cache.forget_everything()
    for analytics in several:
        await cache.get(analytics.session_id)
    assert len(caches.truth.reads) == 3
