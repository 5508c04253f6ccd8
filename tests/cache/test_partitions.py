"""Several partitions: each is the whole protocol, and all are kept in step by one look at the change log."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from adapters.redis_cache.keys import Keys
from adapters.redis_cache.policy import CachePolicy
from domain.ports import Changes, Freshness
from domain.session import SessionId
from tests.cache.conftest import BRISK, QUIET, Caches, WatchedRepository, all_keys
from tests.patience import eventually
from tests.proxies import Proxy, redis_commands
from tests.strategies import edition, new_id, number_of

COUNT = 3
SEVERAL = replace(QUIET, partitions=COUNT)


@pytest.fixture
async def partitions(caches: Caches) -> list[Keys]:
    """Their keys."""
    store_id = await caches.truth.inner.store_id()
    return [Keys.of(caches.prefix, store_id, number, COUNT) for number in range(COUNT)]


@pytest.fixture
def session_ids() -> list[SessionId]:
    """Two in each partition."""
    return [next(found for found in iter(new_id, None) if found.int % COUNT == number % COUNT) for number in range(2 * COUNT)]


async def sources(cache: Any, session_ids: list[SessionId]) -> list[str | None]:
    answers = [await cache.get(session_id, freshness=Freshness.FRESH) for session_id in session_ids]
    return [answer and answer.source for answer in answers]


async def numbers(cache: Any, session_ids: list[SessionId]) -> list[int]:
    return [number_of((await cache.get(session_id)).analytics) for session_id in session_ids]


async def test_each_session_lies_in_its_partition_with_the_heartbeat_it_is_read_with(
    caches: Caches, partitions: list[Keys], session_ids: list[SessionId], raw: Any
) -> None:
    cache = await caches.open(SEVERAL)
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    assert await sources(cache, session_ids) == ["redis"] * 6
    roots = Counter(name.decode().partition(":e:")[0] for name in await all_keys(raw, caches.prefix) if b":e:" in name)
    assert roots == {keys.root: 2 for keys in partitions}
    await raw.delete(partitions[1].heartbeat)
    expected = ["memory" if partitions[1].holds(session_id) else "redis" for session_id in session_ids]
    assert await sources(cache, session_ids) == expected
    many = await cache.get_many(session_ids)
    assert [many[session_id].source for session_id in session_ids] == expected


async def test_a_pass_asks_the_log_once_and_brings_every_partition_what_is_its(
    caches: Caches, truth: WatchedRepository, session_ids: list[SessionId], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await caches.open(SEVERAL)
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    looks: list[int | None] = []
    look = truth.changes_since

    async def noted(position: int | None) -> Changes:
        looks.append(position)
        return await look(position)

    monkeypatch.setattr(truth, "changes_since", noted)
    for session_id in session_ids:
        await truth.inner.save(edition(session_id, 2))
    assert await cache._relay.catch_up()
    assert len(looks) == 1
    assert await sources(cache, session_ids) == ["memory"] * 6
    assert await sources(cache, session_ids) == ["redis"] * 6
    assert await numbers(cache, session_ids) == [2] * 6


async def test_a_partition_whose_position_fell_back_is_brought_up_and_the_others_keep_what_they_have(
    caches: Caches, truth: WatchedRepository, partitions: list[Keys], session_ids: list[SessionId], raw: Any
) -> None:
    """As one node of several that failed over to a replica without the last commands."""
    cache = await caches.open(SEVERAL)
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    assert await cache._relay.catch_up()
    mine = [session_id for session_id in session_ids if partitions[0].holds(session_id)]
    await sources(cache, mine)
    old = {name: await raw.get(name) for name in (partitions[0].position, *map(partitions[0].entry, mine))}
    for session_id in mine:
        await cache.save(edition(session_id, 2))
    assert await cache._relay.catch_up()
    for name, value in old.items():
        await raw.set(name, value)
    assert await cache._relay.catch_up()
    assert await sources(cache, session_ids) == ["memory" if session_id in mine else "redis" for session_id in session_ids]
    assert await numbers(cache, mine) == [2, 2]


async def test_a_lost_position_begins_an_epoch_of_that_partition_alone(
    caches: Caches, partitions: list[Keys], session_ids: list[SessionId], raw: Any
) -> None:
    cache = await caches.open(SEVERAL)
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    await raw.delete(partitions[2].position)
    assert await cache._relay.catch_up()
    assert await sources(cache, session_ids) == ["memory" if partitions[2].holds(one) else "redis" for one in session_ids]


async def test_a_truth_that_went_back_behind_one_position_is_noticed_there_too(
    caches: Caches, partitions: list[Keys], session_ids: list[SessionId], raw: Any
) -> None:
    """The log is asked from an older position of another partition, and says nothing of this one's."""
    cache = await caches.open(SEVERAL)
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    assert await cache._relay.catch_up()
    epoch, _, position = (await raw.get(partitions[1].position)).partition(b":")
    await raw.set(partitions[1].position, b"%s:%d" % (epoch, int(position) + 1000))
    assert await cache._relay.catch_up()
    assert await sources(cache, session_ids) == ["memory" if partitions[1].holds(one) else "redis" for one in session_ids]
    assert (await raw.get(partitions[1].position)).partition(b":")[2] == position


@pytest.mark.parametrize("count", [1, COUNT])
async def test_a_write_past_the_cache_is_seen_within_the_bound_whatever_the_number(
    caches: Caches, truth: WatchedRepository, session_ids: list[SessionId], count: int
) -> None:
    """Processes with different numbers have different caches, and neither misleads the other."""
    policies: list[CachePolicy] = [replace(BRISK, partitions=number) for number in (count, 2)]
    one, other = [await caches.open(policy) for policy in policies]
    for session_id in session_ids:
        await one.save(edition(session_id, 1))
    for cache in (one, other):
        await eventually(partial(sources, cache, session_ids), lambda found: found == ["redis"] * 6)
    for session_id in session_ids:
        await one.save(edition(session_id, 2))

    await eventually(partial(numbers, other, session_ids), lambda found: found == [2] * 6, within_s=3.0)


async def test_a_batch_over_all_partitions_is_one_command_of_each_at_a_time_and_one_read(
    caches: Caches, truth: WatchedRepository, session_ids: list[SessionId]
) -> None:
    for session_id in session_ids[:4]:
        await truth.inner.save(edition(session_id, 1))
    async with Proxy.to_redis(caches.redis_url) as proxy:
        cache = await caches.open(SEVERAL, url=proxy.redis_url)
        await cache.get_many([new_id() for _ in range(20)])  # Connections are there, and scripts are known.
        proxy.sent.clear()
        truth.reads.clear()
        assert (await cache.get_many(session_ids)).keys() == set(session_ids[:4])
        assert redis_commands(proxy.sent) == ["MGET"] * COUNT + ["EVALSHA"] * 2 * COUNT
        assert [set(read) for read in truth.reads] == [set(session_ids)]
        proxy.sent.clear()
        truth.reads.clear()
        assert (await cache.get_many(session_ids)).keys() == set(session_ids[:4])
        assert (redis_commands(proxy.sent), truth.reads) == (["MGET"] * COUNT, [])


async def test_of_a_batch_what_cannot_be_stored_is_read_with_the_rest(
    caches: Caches, truth: WatchedRepository, partitions: list[Keys], session_ids: list[SessionId], raw: Any
) -> None:
    cache = await caches.open(SEVERAL)
    for session_id in session_ids:
        await truth.inner.save(edition(session_id, 1))
    await raw.delete(partitions[2].heartbeat)
    assert len(await cache.get_many(session_ids)) == 6
    assert [set(read) for read in truth.reads] == [set(session_ids)]
    assert cache.stats.counts()["misses"] == 4
    assert cache.stats.counts()["bypasses_not_in_step"] == 2
    assert await sources(cache, session_ids) == ["memory" if partitions[2].holds(one) else "redis" for one in session_ids]


@pytest.mark.parametrize("turns", range(12))
async def test_a_batch_that_is_cancelled_leaves_no_lease_in_any_partition(
    caches: Caches, session_ids: list[SessionId], raw: Any, turns: int
) -> None:
    cache = await caches.open(SEVERAL)
    await cache.get_many([new_id() for _ in range(20)])
    batch = asyncio.create_task(cache.get_many(session_ids))
    for _ in range(turns):
        await asyncio.sleep(0)
    batch.cancel()
    await asyncio.wait([batch])
    await cache._leases.aclose()  # What is given back is back.
    assert [name for name in await all_keys(raw, caches.prefix) if b":l:" in name] == []


async def test_operators_see_all_partitions_as_one_cache(
    caches: Caches, partitions: list[Keys], session_ids: list[SessionId], raw: Any
) -> None:
    cache = await caches.open(SEVERAL)
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    contents: Any = await cache.inspection.contents()
    assert contents.entries == 6
    assert (await cache.inspection.health()).status == "healthy"
    for session_id in session_ids:
        facts: Any = await cache.inspection.entry(session_id)
        assert (facts.found, facts.believed) == ("analytics", True)
    assert await cache.forget_everything()
    assert await sources(cache, session_ids) == ["memory"] * 6
    await raw.delete(partitions[2].heartbeat)
    assert (await cache.inspection.health()).status == "degraded"
