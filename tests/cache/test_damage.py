"""Whatever stands where an entry should: the truth answers, and puts the entry right."""

from __future__ import annotations

from typing import Any

import pytest
import zstandard

from adapters import document
from adapters.redis_cache.entry import Entry, pack, unpack
from adapters.redis_cache.keys import Keys
from tests.cache.conftest import Caches, WatchedRepository
from tests.strategies import edition, new_id, number_of

BOMB = zstandard.ZstdCompressor(level=19).compress(b"\0" * (64 * 1024 * 1024))


async def a_foreign_value(raw: Any, name: str, entry: Entry) -> None:
    await raw.set(name, b"not ours")


async def nothing_in_it(raw: Any, name: str, entry: Entry) -> None:
    await raw.set(name, b"")


async def a_list(raw: Any, name: str, entry: Entry) -> None:
    await raw.delete(name)
    await raw.lpush(name, pack(entry))


async def a_hash(raw: Any, name: str, entry: Entry) -> None:
    await raw.delete(name)
    await raw.hset(name, "field", pack(entry))


async def a_flipped_bit_in_the_payload(raw: Any, name: str, entry: Entry) -> None:
    value = bytearray(pack(entry))
    value[-1] ^= 1
    await raw.set(name, bytes(value))


async def a_flipped_bit_in_the_version(raw: Any, name: str, entry: Entry) -> None:
    value = bytearray(pack(entry))
    value[23] ^= 1
    await raw.set(name, bytes(value))


async def half_an_entry(raw: Any, name: str, entry: Entry) -> None:
    value = pack(entry)
    await raw.set(name, value[: len(value) // 2])


async def a_header_alone(raw: Any, name: str, entry: Entry) -> None:
    await raw.set(name, pack(entry)[:64])


async def half_a_header(raw: Any, name: str, entry: Entry) -> None:
    await raw.set(name, pack(entry)[:32])


async def another_format(raw: Any, name: str, entry: Entry) -> None:
    value = bytearray(pack(entry))
    value[4] = 2
    await raw.set(name, bytes(value))


async def another_epoch(raw: Any, name: str, entry: Entry) -> None:
    await raw.set(name, pack(Entry(entry.session_id, entry.version, b"oldepoch", entry.filled_at_ms, entry.coding, entry.payload)))


async def another_sessions_entry(raw: Any, name: str, entry: Entry) -> None:
    await raw.set(name, pack(Entry(new_id(), entry.version, entry.epoch, entry.filled_at_ms, entry.coding, entry.payload)))


async def an_entry_of_the_far_future_that_is_cut_off(raw: Any, name: str, entry: Entry) -> None:
    value = pack(Entry(entry.session_id, (1 << 63) - 1, entry.epoch, entry.filled_at_ms, entry.coding, entry.payload))
    await raw.set(name, value[:-1])


def with_payload(payload: bytes, coding: Any) -> Any:
    async def damage(raw: Any, name: str, entry: Entry) -> None:
        await raw.set(name, pack(Entry(entry.session_id, entry.version, entry.epoch, entry.filled_at_ms, coding, payload)))

    return damage


IN_FRAME = {
    "a bomb": with_payload(BOMB, "zstd"),
    "compressed no document": with_payload(zstandard.compress(b'{"schema":1}'), "zstd"),
    "no zstd": with_payload(b"not zstd", "zstd"),
    "an uncompressed no document": with_payload(b"[]", "identity"),
    "an empty payload": with_payload(b"", "identity"),
    "a document of impossible parameters": with_payload(
        document.encode(edition(new_id(), 1)).replace(b'"window_length_s":2.0', b'"window_length_s":-2.0'), "identity"
    ),
}
DAMAGES = [
    a_foreign_value, nothing_in_it, a_list, a_hash, a_flipped_bit_in_the_payload, a_flipped_bit_in_the_version, half_an_entry,
    a_header_alone, half_a_header, another_format, another_epoch, another_sessions_entry, an_entry_of_the_far_future_that_is_cut_off,
]  # fmt: skip
ALL = {**{damage.__name__.replace("_", " "): damage for damage in DAMAGES}, **IN_FRAME}


# Documents pass on undecoded: whoever could write such a frame with its checksum could have written a document as well.
CASES = [
    (damage, read)
    for damage in ALL
    for read in ("get", "get_document", "get_many", "save")
    if damage not in IN_FRAME or read != "get_document"
]


@pytest.mark.parametrize(("damage", "read"), CASES)
async def test_damage_is_answered_by_the_truth_and_healed(caches: Caches, raw: Any, keys: Keys, damage: str, read: str) -> None:
    session_id, truth = new_id(), caches.truth
    name = keys.entry(session_id)
    cache = await caches.open()
    await cache.save(edition(session_id, 1))
    entry = unpack(await raw.get(name), session_id)
    assert entry is not None
    await ALL[damage](raw, name, entry)
    truth.reads.clear()
    if read == "get_many":
        answers = await cache.get_many([session_id])
        assert number_of(answers[session_id].analytics) == 1
    elif read == "get_document":
        found = await cache.get_document(session_id)
        assert found is not None
        assert document.decode(found.body, of="the test") == edition(session_id, 1)
    elif read == "get":
        answer = await cache.get(session_id)
        assert answer is not None
        assert number_of(answer.analytics) == 1
    else:
        receipt = await cache.save(edition(session_id, 2))
        assert (receipt.version, receipt.fresh) == (2, True)
        answer = await cache.get(session_id)
        assert answer is not None
        assert number_of(answer.analytics) == 2
    assert len(truth.reads) == 1
    healed = unpack(await raw.get(name), session_id)
    assert healed is not None
    assert healed.version == (2 if read == "save" else 1)
    answer = await cache.get(session_id)
    assert answer is not None
    assert answer.source == "redis"
    assert await raw.exists(keys.lease(session_id)) == 0


async def test_a_damaged_absence_is_healed_too(caches: Caches, raw: Any, keys: Keys) -> None:
    session_id = new_id()
    cache = await caches.open()
    await cache.get(session_id)
    await raw.set(keys.entry(session_id), b"not ours")
    assert await cache.get(session_id) is None
    entry = unpack(await raw.get(keys.entry(session_id)), session_id)
    assert entry is not None
    assert entry.payload is None
    assert cache.stats.counts()["damaged"] == 1


async def test_a_batch_with_damage_is_whole(caches: Caches, truth: WatchedRepository, raw: Any, keys: Keys) -> None:
    session_ids = [new_id() for _ in range(5)]
    cache = await caches.open()
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    await raw.set(keys.entry(session_ids[1]), b"not ours")
    await raw.delete(keys.entry(session_ids[3]))
    await raw.lpush(keys.entry(session_ids[3]), b"not ours")
    truth.reads.clear()
    assert (await cache.get_many(session_ids)).keys() == set(session_ids)
    assert truth.reads == [(session_ids[1], session_ids[3])]
    assert (await cache.get_many(session_ids)).keys() == set(session_ids)
    assert len(truth.reads) == 1


async def test_an_invalidation_drops_what_is_no_entry(caches: Caches, raw: Any, keys: Keys) -> None:
    session_id = new_id()
    cache = await caches.open()
    await raw.set(keys.entry(session_id), b"not ours")
    await caches.truth.inner.save(edition(session_id, 1))
    assert await cache._relay.catch_up()
    assert await raw.exists(keys.entry(session_id)) == 0
