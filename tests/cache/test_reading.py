"""Reading through the cache when all is well: what it costs, what it stores, and for how long."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import zstandard

from adapters import document
from adapters.redis_cache.entry import unpack
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.reads import CoalescedReads
from domain.ports import Freshness
from tests.cache.conftest import QUIET, Caches, WatchedRepository, all_keys
from tests.proxies import Proxy, redis_commands
from tests.strategies import edition, new_id, number_of, some_analytics

DAY_MS = 24 * 3600 * 1000


async def test_a_hit_is_one_exchange_with_redis_and_none_with_the_truth(caches: Caches, truth: WatchedRepository) -> None:
    analytics = some_analytics()
    async with Proxy.to_redis(caches.redis_url) as proxy:
        cache = await caches.open(url=proxy.redis_url)
        await cache.save(analytics)
        truth.reads.clear()
        for read in (cache.get, cache.get_document):
            for freshness in Freshness:
                proxy.sent.clear()
                answer = await read(analytics.session_id, freshness=freshness)
                assert answer is not None
                assert answer.source == "redis"
                assert (len(proxy.sent), redis_commands(proxy.sent)) == (1, ["MGET"])
        proxy.sent.clear()
        assert (await cache.get_many([analytics.session_id])).keys() == {analytics.session_id}
        assert (len(proxy.sent), redis_commands(proxy.sent)) == (1, ["MGET"])
        assert truth.reads == []
        await cache.aclose()


async def test_a_miss_is_a_read_a_lease_and_a_filling(caches: Caches, truth: WatchedRepository) -> None:
    analytics = some_analytics()
    await truth.inner.save(analytics)
    async with Proxy.to_redis(caches.redis_url) as proxy:
        cache = await caches.open(url=proxy.redis_url)
        await cache.get(new_id())  # The server knows the scripts now.
        proxy.sent.clear()
        truth.reads.clear()
        answer = await cache.get(analytics.session_id)
        assert answer is not None
        assert answer.source == "memory"
        assert redis_commands(proxy.sent) == ["MGET", "EVALSHA", "EVALSHA"]
        assert truth.reads == [(analytics.session_id,)]
        await cache.aclose()


async def test_many_hits_are_one_exchange_and_many_misses_three_and_one_read(caches: Caches, truth: WatchedRepository) -> None:
    session_ids = [new_id() for _ in range(50)]
    for session_id in session_ids[:40]:
        await truth.inner.save(edition(session_id, 1))
    async with Proxy.to_redis(caches.redis_url) as proxy:
        cache = await caches.open(url=proxy.redis_url)
        await cache.get(new_id())
        truth.reads.clear()
        proxy.sent.clear()
        assert (await cache.get_many(session_ids)).keys() == set(session_ids[:40])
        assert redis_commands(proxy.sent) == ["MGET", "EVALSHA", "EVALSHA"]
        assert [len(read) for read in truth.reads] == [50]
        proxy.sent.clear()
        assert (await cache.get_many(session_ids)).keys() == set(session_ids[:40])
        assert redis_commands(proxy.sent) == ["MGET"]
        assert len(truth.reads) == 1
        await cache.aclose()


async def test_a_batch_asks_the_truth_only_for_what_redis_lacks(caches: Caches, truth: WatchedRepository) -> None:
    cached, stored, unknown = new_id(), new_id(), new_id()
    cache = await caches.open()
    await cache.save(edition(cached, 1))
    await truth.inner.save(edition(stored, 2))
    truth.reads.clear()
    answers = await cache.get_many([cached, stored, unknown])
    assert {session_id: (number_of(a.analytics), a.source) for session_id, a in answers.items()} == {
        cached: (1, "redis"),
        stored: (2, "memory"),
    }
    assert truth.reads == [(stored, unknown)]


async def test_a_large_batch_is_split_as_the_policy_says(caches: Caches, truth: WatchedRepository) -> None:
    session_ids = [new_id() for _ in range(25)]
    async with Proxy.to_redis(caches.redis_url) as proxy:
        cache = await caches.open(replace(QUIET, batch_max=10), url=proxy.redis_url)
        await cache.get_many(session_ids)
        proxy.sent.clear()
        assert await cache.get_many(session_ids + session_ids) == {}
        assert redis_commands(proxy.sent) == ["MGET"] * 3
        await cache.aclose()


async def test_what_was_saved_is_in_redis_at_once_for_every_process(caches: Caches, truth: WatchedRepository) -> None:
    writer, reader = await caches.open(), await caches.open()
    analytics = some_analytics()
    receipt = await writer.save(analytics)
    assert receipt.fresh
    truth.reads.clear()
    answer = await reader.get(analytics.session_id)
    assert answer is not None
    assert (answer.source, answer.analytics, answer.version) == ("redis", analytics, receipt.version)
    assert truth.reads == []


async def test_a_document_passes_as_it_is_stored(caches: Caches, raw: Any, keys: Keys) -> None:
    analytics = some_analytics()
    cache = await caches.open()
    await cache.save(analytics)
    found = await cache.get_document(analytics.session_id)
    entry = unpack(await raw.get(keys.entry(analytics.session_id)), analytics.session_id)
    assert found is not None
    assert entry is not None
    assert (found.coding, found.body) == ("zstd", entry.payload)
    assert zstandard.ZstdDecompressor().decompress(found.body) == document.encode(analytics)


async def test_a_document_is_decoded_once_a_hit_and_never_to_be_passed_on(caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = document.decode

    def counting(body: bytes | str, *, of: str) -> Any:
        decoded.append(of)
        return decode(body, of=of)

    analytics = some_analytics()
    cache = await caches.open()
    await cache.save(analytics)
    monkeypatch.setattr(document, "decode", counting)
    await cache.get(analytics.session_id)
    assert len(decoded) == 1
    await cache.get_document(analytics.session_id)
    assert len(decoded) == 1


async def test_a_document_that_was_passed_on_stays_near_and_is_decoded_when_somebody_reads_it(
    caches: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    analytics = some_analytics()
    await (await caches.open()).save(analytics)
    cache = await caches.open(replace(QUIET, near_trust_s=60.0, near_entries_max=10))
    sources = []
    for _ in range(2):
        passed_on = await cache.get_document(analytics.session_id)
        assert passed_on is not None
        sources.append(passed_on.source)
    assert sources == ["redis", "near"]
    for _ in range(2):
        read = await cache.get(analytics.session_id)
        assert read is not None
        assert (read.source, read.analytics) == ("near", analytics)
    many = await cache.get_many([analytics.session_id])
    assert many[analytics.session_id].analytics == analytics


async def test_the_version_of_what_is_near_is_read_from_the_header(
    caches: Caches, truth: WatchedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    analytics = some_analytics()
    cache = await caches.open(replace(QUIET, near_trust_s=60.0, near_entries_max=10))
    receipt = await cache.save(analytics)
    truth.reads.clear()
    monkeypatch.setattr(CoalescedReads, "read", None)  # Nobody may ask for whole entries.
    for freshness, source in ((Freshness.FRESH, "redis"), (Freshness.BOUNDED, "near")):
        version = await cache.get_version(analytics.session_id, freshness=freshness, at_least=receipt.version)
        assert version is not None
        assert (version.version, version.source) == (receipt.version, source)
    assert not truth.reads


async def test_without_redis_the_version_alone_is_asked_of_the_truth(caches: Caches, truth: WatchedRepository, closed_port: int) -> None:
    analytics = some_analytics()
    cache = await caches.open(url=f"redis://127.0.0.1:{closed_port}/0")
    receipt = await cache.save(analytics)
    version = await cache.get_version(analytics.session_id)
    assert version is not None
    assert (version.version, version.source) == (receipt.version, "memory")


async def test_absence_is_remembered_until_the_session_is_saved(caches: Caches, truth: WatchedRepository) -> None:
    session_id = new_id()
    cache, other = await caches.open(), await caches.open()
    assert await cache.get(session_id) is None
    truth.reads.clear()
    assert await cache.get(session_id) is None
    assert await other.get_document(session_id) is None
    assert await other.get_many([session_id]) == {}
    assert truth.reads == []
    await cache.save(edition(session_id, 1))
    answer = await other.get(session_id)
    assert answer is not None
    assert number_of(answer.analytics) == 1


async def test_a_deletion_leaves_no_content_in_redis(caches: Caches, raw: Any) -> None:
    analytics = some_analytics()
    cache = await caches.open()
    await cache.save(analytics)
    await cache.delete(analytics.session_id)
    assert await cache.get(analytics.session_id) is None
    for name in await all_keys(raw, caches.prefix):
        if await raw.type(name) == b"string":
            assert len(await raw.get(name)) <= 64, name


async def test_entries_live_a_day_at_most_and_do_not_expire_together(caches: Caches, raw: Any, keys: Keys) -> None:
    cache = await caches.open()
    session_ids = [new_id() for _ in range(30)]
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    lives = [await raw.pttl(keys.entry(session_id)) for session_id in session_ids]
    assert all(0.9 * DAY_MS - 60_000 < life <= DAY_MS for life in lives)
    assert len({life // 1000 for life in lives}) > 10


async def test_absence_lives_a_minute_at_most(caches: Caches, raw: Any, keys: Keys) -> None:
    cache, session_id = await caches.open(), new_id()
    await cache.get(session_id)
    assert 0 < await raw.pttl(keys.entry(session_id)) <= 60_000


async def test_an_entry_without_jitter_lives_as_long_as_the_policy_says(caches: Caches, raw: Any, keys: Keys) -> None:
    policy = CachePolicy(heartbeat_s=60.0, command_s=2.0, connect_s=2.0, ttl_s=3600.0, ttl_jitter=0.0)
    cache, session_id = await caches.open(policy), new_id()
    await cache.save(edition(session_id, 1))
    assert 3_540_000 < await raw.pttl(keys.entry(session_id)) <= 3_600_000


async def test_a_lease_ends_by_itself(caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys) -> None:
    cache, session_id = await caches.open(), new_id()
    truth.open.clear()
    reading = asyncio.create_task(cache.get(session_id))
    await truth.waiting.wait()
    assert 0 < await raw.pttl(keys.lease(session_id)) <= QUIET.lease_s * 1000
    truth.open.set()
    await reading
    assert await raw.exists(keys.lease(session_id)) == 0


async def test_a_document_above_the_limit_is_answered_and_not_stored(
    caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys
) -> None:
    analytics = some_analytics()
    policy = CachePolicy(heartbeat_s=60.0, command_s=2.0, connect_s=2.0, document_bytes_max=100)
    cache = await caches.open(policy)
    assert (await cache.save(analytics)).fresh
    for _ in range(2):
        answer = await cache.get(analytics.session_id)
        assert answer is not None
        assert answer.analytics == analytics
        assert (await cache.get_many([analytics.session_id])).keys() == {analytics.session_id}
    await cache.aclose()
    assert await raw.exists(keys.entry(analytics.session_id), keys.lease(analytics.session_id)) == 0
    assert cache.stats.counts()["too_large"] > 0


async def test_keys_name_sessions_and_nothing_else(caches: Caches, raw: Any, keys: Keys) -> None:
    analytics = some_analytics()
    cache = await caches.open()
    await cache.save(analytics)
    await cache.aclose()
    assert {name.decode() for name in await all_keys(raw, caches.prefix)} == {
        keys.entry(analytics.session_id), keys.heartbeat, keys.position, keys.counters
    }  # fmt: skip


async def test_a_newer_version_than_redis_has_is_loaded_and_stored(caches_over_either: Caches) -> None:
    truth = caches_over_either.truth
    cache, session_id = await caches_over_either.open(), new_id()
    await cache.save(edition(session_id, 1))
    await truth.inner.save(edition(session_id, 2))
    for read in (cache.get, cache.get_document):
        answer = await read(session_id, at_least=2)
        assert answer is not None
        assert answer.version == 2
    truth.reads.clear()
    assert (await cache.get(session_id)) is not None
    assert truth.reads == []
