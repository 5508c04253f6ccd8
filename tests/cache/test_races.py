"""Readers and writers in each other's way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from adapters.redis_cache.keys import Keys
from adapters.redis_cache.policy import CachePolicy
from domain.errors import StorageUnavailable
from domain.ports import Freshness
from tests.cache.conftest import Caches, WatchedRepository, all_keys
from tests.leases import held_leases
from tests.patience import eventually
from tests.strategies import edition, new_id, number_of

SHORT_WAIT = CachePolicy(heartbeat_s=60.0, command_s=2.0, connect_s=2.0, follow_s_max=0.05)


@pytest.mark.parametrize("write", ["save", "delete"])
@pytest.mark.parametrize("read", ["get", "get_document", "get_many"])
async def test_slow_filler_cannot_resurrect_an_overwritten_session(caches_over_either: Caches, read: str, write: str) -> None:
    truth = caches_over_either.truth
    reader, writer = await caches_over_either.open(), await caches_over_either.open(SHORT_WAIT)
    session_id, other = new_id(), new_id()
    await truth.inner.save(edition(session_id, 1))
    truth.may_answer.clear()
    ask: Any = {
        "get": lambda: reader.get(session_id),
        "get_document": lambda: reader.get_document(session_id),
        "get_many": lambda: reader.get_many([session_id, other]),
    }[read]
    slow = asyncio.create_task(ask())
    await truth.loaded.wait()  # It has read version 1, and does not know it yet.
    if write == "save":
        saving = asyncio.create_task(writer.save(edition(session_id, 2)))
        await eventually(lambda: truth.inner.get(session_id), lambda answer: answer is not None and answer.version == 2)
    else:
        assert (await writer.delete(session_id)) is not None
        saving = None
    await eventually(lambda: counted(writer, "invalidations"), lambda count: count == 1)
    truth.may_answer.set()
    stale = await slow
    if saving is not None:
        await saving
    assert (stale[session_id] if read == "get_many" else stale).version == 1  # Begun before the write: it may be old, and is not kept.
    for cache in (reader, writer):
        answer = await cache.get(session_id, freshness=Freshness.FRESH)
        assert (None if answer is None else answer.version) == (2 if write == "save" else None)
    assert reader.stats.counts()["fills_refused"] == 1


async def counted(cache: Any, name: str) -> int:
    return int(cache.stats.counts().get(name, 0))


async def test_a_write_by_another_program_that_the_relay_has_brought_refuses_a_slow_filler(caches_over_either: Caches) -> None:
    truth = caches_over_either.truth
    cache, session_id = await caches_over_either.open(), new_id()
    await truth.inner.save(edition(session_id, 1))
    truth.may_answer.clear()
    slow = asyncio.create_task(cache.get(session_id))
    await truth.loaded.wait()
    await truth.inner.save(edition(session_id, 2))
    assert await cache._relay.catch_up()
    truth.may_answer.set()
    await slow
    answer = await cache.get(session_id)
    assert answer is not None
    assert answer.version == 2


async def test_absence_loaded_before_the_first_write_is_not_stored_after_it(caches: Caches, truth: WatchedRepository) -> None:
    reader, writer = await caches.open(), await caches.open(SHORT_WAIT)
    session_id = new_id()
    truth.may_answer.clear()
    slow = asyncio.create_task(reader.get(session_id))
    await truth.loaded.wait()
    saving = asyncio.create_task(writer.save(edition(session_id, 1)))
    await eventually(lambda: counted(writer, "invalidations"), lambda count: count == 1)
    truth.may_answer.set()
    assert await slow is None
    await saving
    assert await reader.get(session_id) is not None


async def test_a_stampede_on_a_cold_session_is_one_load_and_one_filling(caches: Caches, truth: WatchedRepository) -> None:
    """Fifty callers in two processes. What the lease promises: one of them loads, as long as nobody waits longer than follow_s_max."""
    patient = CachePolicy(heartbeat_s=60.0, command_s=5.0, connect_s=5.0, follow_s_max=10.0)
    one, other = await caches.open(patient), await caches.open(patient)
    session_id = new_id()
    await truth.inner.save(edition(session_id, 1))
    truth.may_answer.clear()
    reading = [asyncio.create_task(cache.get(session_id)) for cache in (one, other) for _ in range(25)]
    await truth.loaded.wait()
    await asyncio.sleep(0.1)  # All of them have found the lease taken by now, or will find the entry.
    truth.may_answer.set()
    answers = await asyncio.gather(*reading)
    assert [answer is not None and number_of(answer.analytics) for answer in answers] == [1] * 50
    assert truth.reads == [(session_id,)]
    counts = [cache.stats.counts() for cache in (one, other)]
    assert sum(count.get("fills", 0) for count in counts) == 1
    assert sum(count.get(name, 0) for count in counts for name in ("followed", "hits", "coalesced")) == 49


async def test_followers_wait_a_bounded_time_and_then_ask_the_truth_without_storing(caches: Caches, truth: WatchedRepository) -> None:
    leader, follower = await caches.open(), await caches.open(SHORT_WAIT)
    session_id = new_id()
    await truth.inner.save(edition(session_id, 1))
    truth.may_answer.clear()
    leading = asyncio.create_task(leader.get(session_id))
    await truth.loaded.wait()
    following = asyncio.create_task(follower.get(session_id))
    await eventually(lambda: read_count(truth), lambda count: count == 2)
    assert not leading.done()
    truth.may_answer.set()
    answer = await following
    assert answer is not None
    assert (answer.source, number_of(answer.analytics)) == ("memory", 1)
    assert follower.stats.counts().get("fills", 0) == 0
    await leading
    assert leader.stats.counts()["fills"] == 1


async def read_count(truth: WatchedRepository) -> int:
    return len(truth.reads)


async def test_a_follower_gets_what_the_leader_stored(caches: Caches, truth: WatchedRepository) -> None:
    patient = CachePolicy(heartbeat_s=60.0, command_s=5.0, connect_s=5.0, follow_s_max=10.0)
    leader, follower = await caches.open(), await caches.open(patient)
    session_id = new_id()
    await truth.inner.save(edition(session_id, 1))
    truth.may_answer.clear()
    leading = asyncio.create_task(leader.get(session_id))
    await truth.loaded.wait()
    following = asyncio.create_task(follower.get(session_id))
    await asyncio.sleep(0.05)
    truth.may_answer.set()
    answer = await following
    assert answer is not None
    assert answer.source == "redis"
    assert len(truth.reads) == 1
    await leading


async def test_a_foreign_lease_without_an_end_does_not_keep_anybody_waiting(caches: Caches, raw: Any, keys: Keys) -> None:
    session_id = new_id()
    cache = await caches.open()
    await raw.set(keys.lease(session_id), "foreign")
    await cache.get(session_id)
    assert cache.stats.counts()["fills"] == 1
    assert await raw.exists(keys.lease(session_id)) == 0


async def test_a_lease_of_another_type_does_not_keep_anybody_waiting(caches: Caches, raw: Any, keys: Keys) -> None:
    session_id = new_id()
    cache = await caches.open()
    await raw.lpush(keys.lease(session_id), "foreign")
    assert await cache.get(session_id) is None
    assert cache.stats.counts()["fills"] == 1


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_lease_is_given_back_when_the_truth_fails(
    caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys, many: bool
) -> None:
    cache, session_ids = await caches.open(), [new_id(), new_id()]
    truth.failing = True
    with pytest.raises(StorageUnavailable):
        await (cache.get_many(session_ids) if many else cache.get(session_ids[0]))
    await eventually(lambda: raw.exists(*map(keys.lease, session_ids)), lambda count: count == 0)
    truth.failing = False
    await cache.get_many(session_ids)
    assert cache.stats.counts()["fills"] == 2


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_lease_is_given_back_when_its_holder_is_cancelled(
    caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys, many: bool
) -> None:
    cache, session_ids = await caches.open(), [new_id(), new_id()]
    truth.open.clear()
    reading: asyncio.Task[Any] = (
        asyncio.create_task(cache.get_many(session_ids)) if many else asyncio.create_task(cache.get(session_ids[0]))
    )
    await truth.waiting.wait()
    assert await raw.exists(*map(keys.lease, session_ids)) == (2 if many else 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await eventually(lambda: raw.exists(*map(keys.lease, session_ids)), lambda count: count == 0)
    truth.open.set()
    assert await cache.get(session_ids[0]) is None
    assert cache.stats.counts()["fills"] == 1


async def test_cancellation_at_any_moment_harms_nobody(caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys) -> None:
    """A reader is cancelled after every number of rounds of the event loop; the next one is served, and nothing is left behind."""
    cache = await caches.open()
    for rounds in range(60):
        session_id = new_id()
        await truth.inner.save(edition(session_id, rounds))
        reading = asyncio.create_task(cache.get(session_id))
        for _ in range(rounds):
            await asyncio.sleep(0)
        reading.cancel()
        with suppress(asyncio.CancelledError):  # It may be faster.
            await reading
        answer = await cache.get(session_id)
        assert answer is not None
        assert number_of(answer.analytics) == rounds
    await cache._leases.aclose()
    assert not [name for name in await all_keys(raw, caches.prefix) if b":l:" in name and await raw.pttl(name) < 0]
    assert cache._server.breaker_state.value == "closed"


async def test_a_lease_is_voided_by_a_write_and_the_next_reader_need_not_wait(caches: Caches, truth: WatchedRepository) -> None:
    reader, writer = await caches.open(), await caches.open()
    session_id = new_id()
    truth.may_answer.clear()
    slow = asyncio.create_task(reader.get(session_id))
    await truth.loaded.wait()
    truth.may_answer.set()
    await truth.inner.save(edition(session_id, 1))
    assert await writer._invalidate(session_id, 1)
    answer = await writer.get(session_id)
    assert answer is not None
    await slow


@pytest.mark.parametrize(("told", "stored"), [(1, True), (2, True), (3, False)], ids=["less", "the same", "more"])
async def test_a_second_telling_of_a_write_voids_no_lease_that_came_after_the_first(
    caches: Caches, truth: WatchedRepository, told: int, stored: bool
) -> None:
    reader, writer = await caches.open(), await caches.open()
    session_id = new_id()
    for number in (1, 2):
        await truth.inner.save(edition(session_id, number))
    assert await writer._invalidate(session_id, 2)
    truth.may_answer.clear()
    slow = asyncio.create_task(reader.get(session_id))
    await truth.loaded.wait()
    assert await writer._invalidate(session_id, told)
    truth.may_answer.set()
    await slow
    answer = await reader.get(session_id)
    assert answer is not None
    assert answer.source == ("redis" if stored else "memory")


async def test_what_is_older_than_redis_was_told_is_not_stored(caches: Caches, truth: WatchedRepository, raw: Any) -> None:
    """As a truth answers that lags, or was restored."""
    cache, session_id = await caches.open(), new_id()
    await truth.inner.save(edition(session_id, 1))
    assert await cache._invalidate(session_id, 5)
    answer = await cache.get(session_id)
    assert answer is not None
    assert answer.source == "memory"
    assert cache.stats.counts()["fills_refused"] == 1
    # Nor is anybody kept waiting by it.
    assert await held_leases(raw, caches.prefix) == []


async def test_who_knows_of_a_deletion_is_told_by_redis_that_there_is_nothing(caches: Caches, truth: WatchedRepository) -> None:
    cache, other, session_id = await caches.open(), await caches.open(), new_id()
    await cache.save(edition(session_id, 1))
    receipt = await cache.delete(session_id)
    assert receipt is not None
    truth.reads.clear()
    for reader in (cache, other, cache):
        assert await reader.get(session_id, at_least=receipt.version) is None
    assert len(truth.reads) == 1
    await cache.save(edition(session_id, 2))
    for reader in (cache, other):
        answer = await reader.get(session_id)
        assert answer is not None
        assert answer.version == receipt.version + 1


async def test_readers_and_writers_of_two_processes_never_go_back(caches_over_either: Caches) -> None:
    truth = caches_over_either.truth.inner
    writers, readers = [await caches_over_either.open() for _ in range(2)], [await caches_over_either.open() for _ in range(2)]
    session_id = new_id()
    acknowledged, done = 0, False

    async def write(start: int) -> None:
        nonlocal acknowledged
        for number in range(start, start + 15):
            receipt = await writers[start % 2].save(edition(session_id, number))
            assert receipt.fresh
            acknowledged = max(acknowledged, receipt.version)

    async def read(cache: Any) -> None:
        while not done:
            known = acknowledged
            answer = await cache.get(session_id, freshness=Freshness.FRESH)
            assert (0 if answer is None else answer.version) >= known
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for cache in readers * 2:
            group.create_task(read(cache))
        await asyncio.gather(write(0), write(101))
        done = True
    assert acknowledged == 30
    last = await truth.get(session_id)
    for cache in readers:
        answer = await cache.get(session_id, freshness=Freshness.FRESH)
        assert answer is not None
        assert last is not None
        assert (answer.version, answer.analytics) == (last.version, last.analytics)


async def test_a_receipt_for_unchanged_content_does_not_vouch_for_a_redis_that_missed_the_change(caches: Caches, closed_port: int) -> None:
    """One writer died between its commit and its word to Redis; another saves the same, and cannot reach Redis either."""
    reader = await caches.open()
    cut_off = await caches.open(url=f"redis://127.0.0.1:{closed_port}/0")
    session_id = new_id()
    await reader.save(edition(session_id, 1))
    await caches.truth.inner.save(edition(session_id, 2))
    receipt = await cut_off.save(edition(session_id, 2))
    answer = await reader.get(session_id, freshness=Freshness.FRESH)
    assert answer is not None
    assert (receipt.version, receipt.changed) == (2, False)
    assert not receipt.fresh or answer.version == 2


async def test_saving_unchanged_content_mends_a_redis_that_missed_the_change(caches: Caches) -> None:
    reader, writer = await caches.open(), await caches.open()
    session_id = new_id()
    await reader.save(edition(session_id, 1))
    await caches.truth.inner.save(edition(session_id, 2))
    receipt = await writer.save(edition(session_id, 2))
    answer = await reader.get(session_id, freshness=Freshness.FRESH)
    assert answer is not None
    assert receipt.fresh
    assert answer.version == 2
