"""Redis freezes, crashes, is emptied, and comes back as it was before: no caller notices, and no answer is older than promised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import OutOfMemoryError

from adapters.embedded import EmbeddedValkey
from adapters.entrypoints.bench.ports import free_ports
from adapters.redis_cache.policy import CachePolicy
from domain.ports import Freshness
from domain.session import SessionId
from tests.faults.conftest import Scene
from tests.faults.history import Lost, now_s
from tests.faults.witness import Witness, under_load
from tests.patience import eventually
from tests.proxies import Proxy
from tests.servers import OwnRedis, server_folder
from tests.strategies import new_id

BRISK = CachePolicy(heartbeat_s=0.6, near_trust_s=0.2, connect_s=0.5, open_s=0.1)
# Long enough for the old heartbeat to be still alive in the Redis that takes over.
LONGER = CachePolicy(heartbeat_s=1.5, near_trust_s=0.2, connect_s=0.5, open_s=0.1)
# So many sessions the load only reads: no later write takes the old entry out of the way.
QUIET = 3


class Switch(Proxy):
    """A proxy whose server can be exchanged, as behind a virtual address or a sentinel."""

    def to(self, url: str) -> None:
        """Clients are cut off, and find the other server when they connect again."""
        self._address = Proxy.to_redis(url)._address
        for task in list(self._tasks):
            task.cancel()


@pytest.fixture
def another_redis() -> Iterator[OwnRedis]:
    with server_folder() as folder:
        server = OwnRedis(EmbeddedValkey(folder))
        yield server
        server.close()


@pytest.fixture
async def keys() -> list[SessionId]:
    return [new_id() for _ in range(6)]


def client(url: str) -> Any:
    return redis.asyncio.Redis.from_url(url, socket_timeout=10)


async def hits_return(witnesses: Sequence[Witness], keys: Sequence[SessionId]) -> None:
    for witness in witnesses:
        for key in keys:

            async def hit(witness: Witness = witness, key: SessionId = key) -> str:
                return (await witness.read(key, Freshness.FRESH)).source

            await eventually(hit, lambda source: source == "redis")


async def versions(witnesses: Sequence[Witness], keys: Sequence[SessionId]) -> list[list[int]]:
    return [[(await witness.read(key, Freshness.FRESH)).version for key in keys] for witness in witnesses]


async def true_versions(scene: Scene, keys: Sequence[SessionId]) -> list[int]:
    answers = await scene.truth.get_many(keys)
    return [answers[key].version for key in keys]


async def written_once(witness: Witness, keys: Sequence[SessionId]) -> None:
    for number, key in enumerate(keys):
        await witness.write(key, number)


async def test_freezing_killing_and_emptying_redis_under_load_is_noticed_by_nobody(
    scene: Scene, own_redis: OwnRedis, keys: list[SessionId]
) -> None:
    witnesses = [(await scene.cache(own_redis.url, BRISK, name))[0] for name in ("A", "B")]
    await written_once(witnesses[0], keys)
    await hits_return(witnesses, keys)

    async with under_load(witnesses, keys, readers=20, writers=2, written=keys):
        for frozen_s in (0.4, BRISK.heartbeat_s + 0.5):
            own_redis.stop()
            await asyncio.sleep(frozen_s)
            own_redis.cont()
            await asyncio.sleep(0.4)
        for _ in range(2):
            await asyncio.to_thread(own_redis.kill)
            await asyncio.sleep(0.2)
            await asyncio.to_thread(own_redis.start)
            await asyncio.sleep(0.4)
            await asyncio.to_thread(own_redis.flush)
            await asyncio.sleep(0.4)

    await hits_return(witnesses, keys)
    assert await versions(witnesses, keys) == [await true_versions(scene, keys)] * 2
    assert scene.history.sources() >= {"postgres", "redis", "near"}
    scene.check(BRISK)


async def test_failover_to_a_detached_replica_that_lost_acknowledged_invalidations_stays_within_the_bound(
    scene: Scene, own_redis: OwnRedis, another_redis: OwnRedis, keys: list[SessionId]
) -> None:
    async with Switch.to_redis(own_redis.url) as switch:
        assert isinstance(switch, Switch)
        witnesses = [(await scene.cache(switch.redis_url, LONGER, name))[0] for name in ("A", "B")]
        await written_once(witnesses[0], keys)
        await hits_return(witnesses, keys)
        async with client(another_redis.url) as replica:
            await follow(own_redis.url, another_redis.url)
            async with under_load(witnesses, keys, readers=16, writers=2, written=keys[QUIET:]):
                await asyncio.sleep(0.5)
                # From here on the primary's commands do not reach it, and the primary acknowledges them all the same.
                began_s = now_s()
                await replica.replicaof("NO", "ONE")
                old = await true_versions(scene, keys)
                assert any([(await witnesses[0].write(key, 7)).fresh for key in keys])
                # The relays pass as well, so that only the position in the old Redis can tell them to look back.
                await asyncio.sleep(LONGER.heartbeat_s * 0.6)
                await asyncio.to_thread(own_redis.kill)
                switch.to(another_redis.url)
                # What lives on in the replica is what the test is about.
                assert await replica.dbsize() > 0
                scene.history.note(Lost(began_s, now_s()))
                await asyncio.sleep(LONGER.heartbeat_s + LONGER.near_trust_s + 0.5)

            await hits_return(witnesses, keys)
            now = await true_versions(scene, keys)
            assert await versions(witnesses, keys) == [now, now]
            assert all(version > before for version, before in zip(now, old, strict=True))
    scene.check(LONGER)


async def follow(primary_url: str, replica_url: str) -> None:
    """Makes one server the replica of another, which listens on TCP for that, and waits until it has everything."""
    async with client(primary_url) as primary, client(replica_url) as replica:
        (port,) = free_ports(1)
        await primary.config_set("repl-diskless-sync-delay", 0)
        await primary.config_set("port", port)
        await replica.replicaof("127.0.0.1", port)

        async def in_step() -> Any:
            return (await replica.info("replication")).get("master_link_status"), await primary.wait(1, 100)

        await eventually(in_step, lambda state: state == ("up", 1), within_s=20)


@pytest.fixture
async def dump(own_redis: OwnRedis, data_folder: Path) -> AsyncIterator[Path]:
    """Where the test's own Redis finds its dump when it starts."""
    async with client(own_redis.url) as own:
        yield Path((await own.config_get("dir"))["dir"]) / (await own.config_get("dbfilename"))["dbfilename"]


async def test_an_old_dump_restored_stays_within_the_bound(scene: Scene, own_redis: OwnRedis, keys: list[SessionId], dump: Path) -> None:
    witnesses = [(await scene.cache(own_redis.url, LONGER, name))[0] for name in ("A", "B")]
    await written_once(witnesses[0], keys)
    await hits_return(witnesses, keys)
    kept = dump.with_name("kept.rdb")
    async with client(own_redis.url) as own, under_load(witnesses, keys, readers=16, writers=2, written=keys[QUIET:]):
        for later_s in (0.1, LONGER.heartbeat_s):  # With a heartbeat in it that is still alive, and with one that is not.
            await asyncio.sleep(0.4)
            began_s = now_s()
            await own.save()
            await asyncio.to_thread(dump.rename, kept)
            assert any([(await witnesses[0].write(key, round(1000 * now_s()))).fresh for key in keys])
            await asyncio.sleep(later_s)
            await asyncio.to_thread(own_redis.kill)
            await asyncio.to_thread(kept.rename, dump)
            await asyncio.to_thread(own_redis.start)
            async with client(own_redis.url) as restored:
                assert await restored.dbsize() > 0
            scene.history.note(Lost(began_s, now_s()))
            await asyncio.sleep(LONGER.heartbeat_s + LONGER.near_trust_s + 0.3)

    await hits_return(witnesses, keys)
    assert await versions(witnesses, keys) == [await true_versions(scene, keys)] * 2
    scene.check(LONGER)


async def test_once_redis_is_back_one_pass_of_the_relay_and_one_load_a_session_bring_the_hits_back(
    scene: Scene, own_redis: OwnRedis, keys: list[SessionId]
) -> None:
    policy = replace(BRISK, near_entries_max=0, heartbeat_s=5.0)
    opened = [await scene.cache(own_redis.url, policy, name) for name in ("A", "B")]
    witnesses = [witness for witness, _ in opened]
    await written_once(witnesses[0], keys)
    await hits_return(witnesses, keys)

    async with under_load(witnesses, keys, readers=20, writers=2, written=keys):
        await asyncio.to_thread(own_redis.kill)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_redis.start)
        await asyncio.sleep(0.5)

    # Nobody's relay is due. One pass, by one of them, is for both.
    await eventually(opened[0][1]._relay.catch_up, bool)
    await eventually(lambda: reaches_redis(witnesses, keys[0]), bool)
    before = [cache.stats.counts() for _, cache in opened]
    sources = [[(await witness.read(key, Freshness.FRESH)).source for key in keys] for _ in range(2) for witness in witnesses]
    after = [cache.stats.counts() for _, cache in opened]
    assert sources[1:] == [["redis"] * len(keys)] * 3
    assert sum(counts.get("misses", 0) for counts in after) - sum(counts.get("misses", 0) for counts in before) <= len(keys)
    assert [counts.get("bypasses", 0) for counts in after] == [counts.get("bypasses", 0) for counts in before]
    scene.check(policy)


async def reaches_redis(witnesses: Sequence[Witness], key: SessionId) -> bool:
    return all([(await witness.read(key, Freshness.FRESH)).source == "redis" for witness in witnesses])


async def test_a_redis_that_evicts_what_was_used_least_under_load_makes_no_answer_older(
    scene: Scene, own_redis: OwnRedis, keys: list[SessionId]
) -> None:
    witnesses = [(await scene.cache(own_redis.url, BRISK, name))[0] for name in ("A", "B")]
    await written_once(witnesses[0], keys)
    async with client(own_redis.url) as own:
        await own.config_set("maxmemory-policy", "allkeys-lru")
        await own.config_set("maxmemory", (await own.info("memory"))["used_memory"] + 300_000)
        async with under_load(witnesses, keys, readers=16, writers=3, written=keys):
            for number in range(60):  # Whole generations of keys go, the position and the heartbeat with them.
                with suppress(OutOfMemoryError):  # What clients are being sent counts too, and cannot be evicted.
                    await own.set(f"filler:{number}", b"x" * 60_000)
                await asyncio.sleep(0.02)
        assert (await own.info("stats"))["evicted_keys"] > 20
        await own.config_set("maxmemory", 0)
    await hits_return(witnesses, keys)
    assert await versions(witnesses, keys) == [await true_versions(scene, keys)] * 2
    scene.check(BRISK)


@pytest.mark.parametrize("value", ["a list", "no entry", "nothing"])
async def test_keys_that_are_overwritten_by_others_under_load_make_no_answer_older(
    scene: Scene, own_redis: OwnRedis, keys: list[SessionId], value: str
) -> None:
    """Entries, leases, position, heartbeat, mark and counters: whatever there is, at any moment."""
    witnesses = [(await scene.cache(own_redis.url, BRISK, name))[0] for name in ("A", "B")]
    await written_once(witnesses[0], keys)
    async with client(own_redis.url) as own, under_load(witnesses, keys, readers=16, writers=3, written=keys):
        for _ in range(25):
            names = [name async for name in own.scan_iter(match=f"{scene.prefix}:*", count=1000)]
            async with own.pipeline(transaction=True) as at_once:
                for name in names:
                    at_once.delete(name)
                    if value == "a list":
                        at_once.rpush(name, b"not ours")
                    elif value == "no entry":
                        at_once.set(name, b"not ours")
                await at_once.execute()
            await asyncio.sleep(0.04)
    await hits_return(witnesses, keys)
    assert await versions(witnesses, keys) == [await true_versions(scene, keys)] * 2
    scene.check(BRISK)
