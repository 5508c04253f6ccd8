"""Processes that share a cache spare each other the work, and none that dies or stalls makes another's answers older than promised."""

from __future__ import annotations

import asyncio

import pytest

from adapters.redis_cache.policy import CachePolicy
from domain.ports import Freshness
from tests.faults.conftest import Scene
from tests.faults.history import now_s
from tests.faults.witness import under_load
from tests.patience import eventually
from tests.servers import OwnRedis
from tests.strategies import edition, new_id

# Whoever waits for another's load gives up late: a busy machine is no outage.
PATIENT = CachePolicy(heartbeat_s=30.0, command_s=10.0, connect_s=10.0, lease_s=30.0, follow_s_max=20.0)
BRISK = CachePolicy(heartbeat_s=0.6, near_trust_s=0.2, command_s=0.5, connect_s=1.0, open_s=0.1)


async def test_four_processes_with_fifty_callers_each_load_a_cold_session_once(scene: Scene, own_redis: OwnRedis) -> None:
    session_id = new_id()
    await scene.past_the_cache().save(edition(session_id, 1))
    children = await scene.processes(4, own_redis.url, PATIENT)
    assert scene.reads_of_the_truth == []

    at_s = now_s() + 0.3
    for child in children:
        await child.send("read", key=str(session_id), callers=50, at_s=at_s)
    assert [await child.answer() for child in children] == [[1] * 50] * 4

    assert len(scene.reads_of_the_truth) == 1, scene.reads_of_the_truth
    scene.check(PATIENT)


async def test_writers_killed_between_commit_and_invalidate_are_seen_by_others_within_the_bound(scene: Scene, own_redis: OwnRedis) -> None:
    witnesses = [(await scene.cache(own_redis.url, BRISK, name))[0] for name in ("A", "B")]
    keys = [new_id() for _ in range(3)]
    children = await scene.processes(len(keys), own_redis.url, BRISK)
    for child, key in zip(children, keys, strict=True):
        assert await child.do("write", key=str(key), number=1) is True
        await child.do("die after commit")

    # None of these writes, so nothing but the relay can tell them.
    async with under_load(witnesses, keys, readers=12, writers=0):

        async def hit() -> str:
            return (await witnesses[0].read(keys[0], Freshness.FRESH)).source

        await eventually(hit, lambda source: source == "redis")
        for child, key in zip(children, keys, strict=True):
            await child.send("write", key=str(key), number=2)
            await asyncio.sleep(0.15)
        for child in children:
            await child.killed()
        await asyncio.sleep(BRISK.heartbeat_s + BRISK.near_trust_s + 0.3)

    assert [(await witness.read(key)).version for witness in witnesses for key in keys] == [2] * 6
    assert scene.history.sources() >= {"redis", "near"}
    scene.check(BRISK)


@pytest.mark.parametrize("others_relay", [True, False], ids=["other relays go on", "there is no other relay"])
async def test_a_relay_stopped_between_snapshot_and_apply_vouches_for_nothing_old(
    scene: Scene, own_redis: OwnRedis, others_relay: bool
) -> None:
    keys = [new_id() for _ in range(3)]
    sql = scene.past_the_cache()
    for key in keys:
        await sql.save(edition(key, 1))
    (stalled,) = await scene.processes(1, own_redis.url, BRISK)
    reader, _ = await scene.cache(own_redis.url, BRISK, "reader", relays=others_relay)

    async def hit() -> str:
        return (await reader.read(keys[0], Freshness.FRESH)).source

    async with under_load([reader], keys, readers=10, writers=0):
        await eventually(hit, lambda source: source == "redis")
        # Others may be quicker than it for a while, and spare it the look.
        await stalled.do("stop after look")
        await stalled.stopped()
        for number in (2, 3):
            for key in keys:
                await sql.save(edition(key, number))
            await asyncio.sleep(BRISK.heartbeat_s * 0.75)
        await asyncio.sleep(BRISK.heartbeat_s + BRISK.near_trust_s)
        stalled.cont()
        await asyncio.sleep(BRISK.heartbeat_s)
        assert await eventually(hit, lambda source: source == "redis")

    assert [(await reader.read(key)).version for key in keys] == [3, 3, 3]
    scene.check(BRISK)
