"""The relay: whatever happens to the truth or to the keys, no answer from Redis is older than the bound."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.memory import MemorySessionAnalyticsRepository
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.redis_cache.compose import cached
from adapters.redis_cache.keys import Keys
from domain.errors import InvalidSettings
from domain.ports import Freshness
from domain.session import SessionId
from tests.cache.conftest import BOUND_S, BRISK, QUIET, Caches, WatchedRepository, all_keys
from tests.patience import eventually
from tests.strategies import edition, new_id, number_of


async def number_in(cache: Any, session_id: SessionId) -> int | None:
    answer = await cache.get(session_id)
    return None if answer is None else number_of(answer.analytics)


async def cached_in(cache: Any, session_id: SessionId) -> bool:
    answer = await cache.get(session_id)
    return answer is not None and answer.source == "redis"


async def a_bound_later() -> None:
    """The bound has passed since now, by any clock."""
    await asyncio.sleep(BOUND_S + 0.02)


@pytest.mark.parametrize("epochs_end", [False, True], ids=["in one epoch", "across epochs"])
async def test_a_writer_that_dies_before_its_word_to_redis_is_seen_within_the_bound(
    caches_over_either: Caches, raw: Any, epochs_end: bool
) -> None:
    cache, session_id = await caches_over_either.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    await eventually(lambda: cached_in(cache, session_id), bool)
    if epochs_end:
        await raw.delete((await caches_over_either.keys()).position)
    await caches_over_either.truth.inner.save(edition(session_id, 2))
    await a_bound_later()
    assert await number_in(cache, session_id) == 2
    await eventually(lambda: cached_in(cache, session_id), bool)


async def test_a_writer_that_dies_after_deleting_is_seen_within_the_bound(caches_over_either: Caches) -> None:
    cache, session_id = await caches_over_either.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    await caches_over_either.truth.inner.delete(session_id)
    await a_bound_later()
    assert await cache.get(session_id) is None
    assert await cache.get_many([session_id]) == {}


async def test_absence_that_ended_unannounced_is_seen_within_the_bound(caches_over_either: Caches) -> None:
    cache, session_id = await caches_over_either.open(BRISK), new_id()
    assert await cache.get(session_id) is None
    await caches_over_either.truth.inner.save(edition(session_id, 1))
    await a_bound_later()
    assert await number_in(cache, session_id) == 1


async def test_a_fresh_read_is_no_older_than_the_bound_either(caches_over_either: Caches) -> None:
    cache, session_id = await caches_over_either.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    await caches_over_either.truth.inner.save(edition(session_id, 2))
    await a_bound_later()
    answer = await cache.get(session_id, freshness=Freshness.FRESH)
    assert answer is not None
    assert answer.version == 2


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE session_analytics SET document = jsonb_set(document, '{summary,channel_count}', '2') WHERE session_id = :id", 2),
        ("DELETE FROM session_analytics WHERE session_id = :id", None),
        ("TRUNCATE session_analytics", None),
        ("UPDATE session_analytics SET session_id = gen_random_uuid() WHERE session_id = :id", None),
    ],
)
async def test_sql_by_hand_is_seen_within_the_bound(
    engine: AsyncEngine, redis_url: str, redis_prefix: str, statement: str, expected: int | None
) -> None:
    inner = PostgresSessionAnalyticsRepository(engine)
    cache = cached(inner, inner, redis_url=redis_url, key_prefix=redis_prefix, policy=BRISK)
    await cache.open()
    try:
        session_id, bystander = new_id(), new_id()
        await cache.save(edition(session_id, 1))
        await cache.save(edition(bystander, 7))
        await eventually(lambda: cached_in(cache, session_id), bool)
        async with engine.begin() as connection:
            if ":id" in statement:
                await connection.execute(sa.text(statement), {"id": session_id})
            else:
                await connection.execute(sa.text(statement))
        await a_bound_later()
        assert await number_in(cache, session_id) == expected
        assert await number_in(cache, bystander) == (None if statement.startswith("TRUNCATE") else 7)
    finally:
        await cache.aclose()


async def test_a_pass_brings_the_news_at_once(caches_over_either: Caches) -> None:
    cache, session_id, other = await caches_over_either.open(), new_id(), new_id()
    await cache.save(edition(session_id, 1))
    await cache.save(edition(other, 1))
    await caches_over_either.truth.inner.save(edition(session_id, 2))
    assert await cache._relay.catch_up()
    assert await number_in(cache, session_id) == 2
    caches_over_either.truth.reads.clear()
    assert await cached_in(cache, other)
    assert caches_over_either.truth.reads == []


async def test_a_pass_without_news_keeps_every_entry(caches_over_either: Caches) -> None:
    cache, session_id = await caches_over_either.open(), new_id()
    await cache.save(edition(session_id, 1))
    for _ in range(5):
        assert await cache._relay.catch_up()
    assert await cached_in(cache, session_id)


async def test_thousands_of_changes_are_brought_in_one_pass(caches: Caches) -> None:
    policy_as_by_default = type(QUIET)(heartbeat_s=60.0, near_entries_max=0, command_s=10.0, connect_s=10.0)
    cache, session_id = await caches.open(policy_as_by_default), new_id()
    await cache.save(edition(session_id, 1))
    analytics = edition(session_id, 2)
    for _ in range(4_999):
        await caches.truth.inner.save(edition(new_id(), 1))
    await caches.truth.inner.save(analytics)
    assert await cache._relay.catch_up()
    assert await number_in(cache, session_id) == 2


async def test_without_a_heartbeat_the_truth_answers_and_nothing_is_stored(
    caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys
) -> None:
    cache, session_id, unknown = await caches.open(), new_id(), new_id()
    await cache.save(edition(session_id, 1))
    await truth.inner.save(edition(session_id, 2))
    await raw.delete(keys.heartbeat)
    before = await raw.get(keys.entry(session_id))
    truth.reads.clear()
    assert await number_in(cache, session_id) == 2
    assert (await cache.get_document(session_id)) is not None
    assert (await cache.get_many([session_id, unknown])).keys() == {session_id}
    assert await cache.get(unknown) is None
    assert len(truth.reads) == 4
    assert await raw.get(keys.entry(session_id)) == before
    assert await raw.exists(keys.entry(unknown), keys.lease(session_id), keys.lease(unknown)) == 0
    assert cache.stats.counts()["bypasses_not_in_step"] == 5


async def test_the_heartbeat_ends_by_itself_within_the_bound(caches: Caches, raw: Any, keys: Keys) -> None:
    await caches.open(BRISK)
    left_ms = await eventually(lambda: raw.pttl(keys.heartbeat), lambda left: left > 0)
    assert left_ms <= BOUND_S * 1000


async def test_a_truth_that_cannot_be_asked_ends_the_reading_from_redis(caches: Caches, truth: WatchedRepository) -> None:
    cache, session_id = await caches.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    truth.feed_failing = True
    await truth.inner.save(edition(session_id, 2))
    await a_bound_later()
    assert not await cache._relay.catch_up()
    answer = await cache.get(session_id)
    assert answer is not None
    assert (answer.source, answer.version) == ("memory", 2)
    truth.feed_failing = False
    await eventually(lambda: cached_in(cache, session_id), bool)
    assert await number_in(cache, session_id) == 2


async def test_a_truth_that_is_away_at_the_start_is_no_obstacle(caches: Caches, truth: WatchedRepository) -> None:
    truth.feed_failing = True
    cache, session_id = await caches.open(BRISK), new_id()
    receipt = await cache.save(edition(session_id, 1))
    assert not receipt.fresh
    assert await number_in(cache, session_id) == 1
    truth.feed_failing = False
    await eventually(lambda: cached_in(cache, session_id), bool)


# Keys lost and spoilt


async def test_flushing_everything_costs_entries_and_no_truth(caches_over_either: Caches, raw: Any) -> None:
    cache, session_id = await caches_over_either.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    await eventually(lambda: cached_in(cache, session_id), bool)
    await raw.delete(*await all_keys(raw, caches_over_either.prefix))
    await caches_over_either.truth.inner.save(edition(session_id, 2))
    assert await number_in(cache, session_id) == 2
    await eventually(lambda: cached_in(cache, session_id), bool)
    assert await number_in(cache, session_id) == 2


POSITIONS: dict[str, bytes | None] = {
    "gone": None,
    "empty": b"",
    "garbage": b"garbage",
    "no number": b"0102030405060708:next",
    "no epoch": b":5",
    "a short epoch": b"0102:5",
    "text": "0102030405060708:½".encode(),
    "negative": b"0102030405060708:-5",
    "from the future": b"0102030405060708:4611686018427387904",
    "beyond every number": b"0102030405060708:" + b"9" * 30,
    "endless": b"0102030405060708:" + b"9" * 10_000,
}


@pytest.mark.parametrize("position", POSITIONS.values(), ids=POSITIONS.keys())
async def test_a_position_that_was_lost_or_spoilt_begins_a_new_epoch(caches_over_either: Caches, raw: Any, position: bytes | None) -> None:
    cache, session_id = await caches_over_either.open(), new_id()
    keys = await caches_over_either.keys()
    await cache.save(edition(session_id, 1))
    epoch = await raw.get(keys.heartbeat)
    await caches_over_either.truth.inner.save(edition(session_id, 2))
    if position is None:
        await raw.delete(keys.position)
    else:
        await raw.set(keys.position, position)
    assert await cache._relay.catch_up()
    assert await raw.get(keys.heartbeat) not in {epoch, b"\x01\x02\x03\x04\x05\x06\x07\x08"}
    assert await number_in(cache, session_id) == 2
    assert await cached_in(cache, session_id)
    assert await cache._relay.catch_up()
    assert await cached_in(cache, session_id)


@pytest.mark.parametrize("which", ["position", "heartbeat", "mark"])
async def test_a_key_of_another_type_is_replaced(caches: Caches, raw: Any, keys: Keys, which: str) -> None:
    cache, session_id = await caches.open(), new_id()
    await cache.save(edition(session_id, 1))
    name = getattr(keys, which)
    await raw.delete(name)
    await raw.lpush(name, "not ours")
    await caches.truth.inner.save(edition(session_id, 2))
    assert await cache._relay.catch_up()
    assert await number_in(cache, session_id) == 2
    assert await cached_in(cache, session_id)


async def test_a_foreign_heartbeat_does_not_make_old_entries_good(caches: Caches, raw: Any, keys: Keys) -> None:
    cache, session_id = await caches.open(), new_id()
    await cache.save(edition(session_id, 1))
    await caches.truth.inner.save(edition(session_id, 2))
    await raw.set(keys.heartbeat, b"a foreign value")
    assert await number_in(cache, session_id) == 2
    assert await cache._relay.catch_up()
    assert await number_in(cache, session_id) == 2


async def test_entries_of_an_earlier_epoch_are_not_read_when_redis_forgets_in_between(caches: Caches, raw: Any, keys: Keys) -> None:
    cache, session_id = await caches.open(), new_id()
    await cache.save(edition(session_id, 1))
    old = await raw.get(keys.entry(session_id))
    await caches.truth.inner.save(edition(session_id, 2))
    await raw.delete(*await all_keys(raw, caches.prefix))
    await raw.set(keys.entry(session_id), old)  # As an old snapshot might bring it back.
    assert await cache._relay.catch_up()
    assert await number_in(cache, session_id) == 2


async def test_an_old_snapshot_is_caught_up_with(caches_over_either: Caches, raw: Any) -> None:
    """All keys come back as they were before two writes, of which one was acknowledged."""
    cache, session_id, other = await caches_over_either.open(), new_id(), new_id()
    await cache.save(edition(session_id, 1))
    await cache.save(edition(other, 1))
    assert await cache._relay.catch_up()
    snapshot = {name: await raw.dump(name) for name in await all_keys(raw, caches_over_either.prefix)}
    await cache.save(edition(session_id, 2))
    await cache.delete(other)
    assert await cache._relay.catch_up()
    await raw.delete(*await all_keys(raw, caches_over_either.prefix))
    for name, value in snapshot.items():
        await raw.restore(name, 0, value, replace=True)
    await raw.delete((await caches_over_either.keys()).heartbeat)  # It ended while the server was away.
    assert await cache._relay.catch_up()
    assert await number_in(cache, session_id) == 2
    assert await cache.get(other) is None


async def test_a_relay_that_lost_its_mark_vouches_for_nothing(caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys) -> None:
    """Redis forgets between MARK and APPLY: what was read of the log then says nothing about the entries that came back."""
    cache = await caches.open()
    position = await raw.get(keys.position)

    async def forget() -> None:
        await raw.delete(keys.mark)

    truth.after_each_look = forget
    await raw.delete(keys.heartbeat)
    assert not await cache._relay.catch_up()
    assert await raw.exists(keys.heartbeat) == 0
    assert await raw.get(keys.position) == position


async def test_of_two_passes_that_overlap_one_is_undone(caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys) -> None:
    one, other = await caches.open(), await caches.open()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait_the_first_time() -> None:
        if not reached.is_set():
            reached.set()
            await go_on.wait()

    truth.after_each_look = wait_the_first_time
    slow = asyncio.create_task(one._relay.catch_up())
    await reached.wait()
    session_id = new_id()
    await other.save(edition(session_id, 1))
    assert await other._relay.catch_up()
    after = await raw.get(keys.position)
    go_on.set()
    assert await slow, "what was undone is made again"
    assert await raw.get(keys.position) == after


async def test_the_heartbeat_dates_from_before_the_look_at_the_log(caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys) -> None:
    """A relay that stands still between its look and its word vouches for nothing afterwards."""
    cache, session_id = await caches.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    assert cache._keeping.relaying is not None
    cache._keeping.relaying.cancel()

    async def stand_still() -> None:
        await truth.inner.save(edition(session_id, 2))
        await a_bound_later()

    truth.after_each_look = stand_still
    await cache._relay.catch_up()
    assert await raw.exists(keys.heartbeat) == 0
    assert await number_in(cache, session_id) == 2


# Whose entries


async def test_two_stores_under_one_prefix_never_mix(caches: Caches, truth: WatchedRepository) -> None:
    elsewhere = WatchedRepository(MemorySessionAnalyticsRepository())
    here, there = await caches.open(), await caches.open(truth=elsewhere)
    session_id = new_id()
    await here.save(edition(session_id, 1))
    assert await there.get(session_id) is None
    await there.save(edition(session_id, 2))
    assert await number_in(here, session_id) == 1
    assert await number_in(there, session_id) == 2
    await here.delete(session_id)
    assert await number_in(there, session_id) == 2


async def test_two_prefixes_never_mix(caches: Caches) -> None:
    one, other = await caches.open(), await caches.open(prefix=f"{caches.prefix}_other")
    session_id = new_id()
    await one.save(edition(session_id, 1))
    caches.truth.reads.clear()
    assert await number_in(other, session_id) == 1
    assert caches.truth.reads == [(session_id,)]


@pytest.mark.parametrize("prefix", ["", "a{b", "a}b", "a b", "a*b", "a?b", "a[b", "a]b", "a\\b", "a\nb"], ids=repr)
async def test_a_prefix_that_cannot_be_used_is_refused_when_the_cache_is_made(redis_url: str, prefix: str) -> None:
    truth = MemorySessionAnalyticsRepository()
    with pytest.raises(InvalidSettings, match="REDIS_KEY_PREFIX"):
        cached(truth, truth, redis_url=redis_url, key_prefix=prefix, policy=QUIET)


async def test_a_write_past_every_cache_reaches_redis_long_before_the_bound(caches_over_either: Caches) -> None:
    caches_over_either.truth.telling = True
    policy = replace(QUIET, heartbeat_s=600.0)  # By polling alone it would take minutes.
    caches = [await caches_over_either.open(policy) for _ in range(3)]
    session_id = new_id()
    await caches[0].save(edition(session_id, 1))
    for number in range(2, 6):
        for cache in caches:
            await eventually(lambda cache=cache: cached_in(cache, session_id), bool)  # type: ignore[misc]
        await caches_over_either.truth.inner.save(edition(session_id, number))
        for cache in caches:
            await eventually(lambda cache=cache: number_in(cache, session_id), lambda found, number=number: found == number)  # type: ignore[misc]


async def test_of_several_processes_that_hear_of_a_write_few_pass(caches: Caches) -> None:
    caches.truth.telling = True
    looks = 0

    async def count() -> None:
        nonlocal looks
        looks += 1

    for _ in range(8):
        await caches.open(replace(QUIET, heartbeat_s=600.0))
    await asyncio.sleep(0.1)
    caches.truth.after_each_look = count
    for number in range(1, 11):
        await caches.truth.inner.save(edition(new_id(), number))
        await asyncio.sleep(0.1)
    # Eight processes heard of ten writes, which are 80 passes if nobody spared any. Passes that overlap may be undone and repeated.
    assert 1 <= looks < 80
