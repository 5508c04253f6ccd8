"""Sentinel fails over, under load: hits return by themselves, no caller notices, and no answer is older than promised."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from adapters.rate_limits import PerMinute, SharedCounts
from adapters.redis_cache.policy import CachePolicy
from domain.ports import Freshness
from domain.session import SessionId
from tests.faults.conftest import Scene
from tests.faults.failovers import FAILOVER_S, entries_in, everything_goes_on, has_become_a_replica, hits_return
from tests.faults.history import Lost, now_s
from tests.faults.witness import under_load
from tests.patience import eventually
from tests.servers import server_folder
from tests.strategies import new_id
from tests.topologies import SERVICE, Watched

POLICY = CachePolicy(heartbeat_s=1.5, near_trust_s=0.2, connect_s=0.5, open_s=0.1)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    with server_folder() as folder:
        servers = await Watched.start(folder)
        try:
            yield servers
        finally:
            servers.stack.close()


@pytest.fixture
def keys() -> list[SessionId]:
    return [new_id() for _ in range(6)]


@pytest.mark.parametrize("fault", ["told to", "killed", "frozen"])
async def test_after_a_failover_everything_goes_on_with_the_new_primary(
    scene: Scene, watched: Watched, keys: list[SessionId], fault: str
) -> None:
    witnesses = [(await scene.cache(watched.url, POLICY, name))[0] for name in ("A", "B")]
    for key in keys:
        await witnesses[0].write(key, 1)
    await hits_return(witnesses, keys)
    first, second = watched.servers
    assert await entries_in(first, scene) == len(keys)

    began_s = now_s()
    async with under_load(witnesses, keys, readers=12, writers=2, written=keys[3:]):
        await asyncio.sleep(0.5)
        if fault == "told to":
            await watched.fail_over()
        else:
            first.send(signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
        await eventually(watched.primary, lambda node: node is second, within_s=FAILOVER_S)
        if fault != "killed":
            first.send(signal.SIGCONT)
            await has_become_a_replica(first)
        # What the old one had acknowledged, the new one may not have.
        scene.history.note(Lost(began_s, now_s()))
        await hits_return(witnesses, keys)
        await asyncio.sleep(POLICY.heartbeat_s + POLICY.near_trust_s)

    await everything_goes_on(witnesses, keys)
    assert await entries_in(second, scene) >= len(keys)
    scene.check(POLICY)


async def test_sentinels_that_are_gone_or_hang_cost_no_answer(scene: Scene, watched: Watched, keys: list[SessionId]) -> None:
    watched.sentinels[0].kill()
    watched.sentinels[1].send(signal.SIGSTOP)
    witness, _ = await scene.cache(watched.url, POLICY, "A")
    for key in keys:
        await witness.write(key, 1)
    await hits_return([witness], keys)
    watched.sentinels[2].kill()  # Whoever is connected needs no sentinel.
    assert [(await witness.read(key, Freshness.FRESH)).source for key in keys] == ["redis"] * len(keys)
    scene.check(POLICY)


async def test_without_any_sentinel_the_database_answers(scene: Scene, watched: Watched, keys: list[SessionId]) -> None:
    for sentinel in watched.sentinels:
        sentinel.kill()
    witness, _ = await scene.cache(watched.url, POLICY, "A")
    await witness.write(keys[0], 1)
    answer = await witness.read(keys[0], Freshness.FRESH)
    assert (answer.content, answer.source) == (1, "postgres")


async def test_a_server_that_is_no_primary_is_not_believed_to_be_one(scene: Scene, watched: Watched, keys: list[SessionId]) -> None:
    """As after sentinels that were cut off: they name the old primary, which follows another one by now."""
    for sentinel in watched.sentinels:
        async with sentinel.client() as asked:
            await asked.execute_command("SENTINEL", "SET", SERVICE, "down-after-milliseconds", 60_000)
            await asked.execute_command("SENTINEL", "SET", SERVICE, "failover-timeout", 600_000)
    async with watched.servers[1].client() as replica, watched.servers[0].client() as primary:
        await replica.replicaof("NO", "ONE")
        await primary.replicaof("127.0.0.1", watched.servers[1].port)
    witness, cache = await scene.cache(watched.url, POLICY, "A")
    await witness.write(keys[0], 1)
    assert (await witness.read(keys[0], Freshness.FRESH)).source == "postgres"
    assert cache.stats.counts()["redis_connection_errors"] > 0


async def test_sentinels_and_servers_with_passwords_of_their_own(scene: Scene, watched: Watched, keys: list[SessionId]) -> None:
    for node in watched.servers:
        async with node.client() as client:
            await client.config_set("masterauth", "served")
    for sentinel in watched.sentinels:
        async with sentinel.client() as client:
            await client.execute_command("SENTINEL", "SET", SERVICE, "auth-pass", "served")
            await client.execute_command("ACL", "SETUSER", "default", "resetpass", ">watched")
    for node in watched.servers:
        async with node.client() as client:
            await client.config_set("requirepass", "served")
    places = watched.url.removeprefix("redis+sentinel://")
    url = f"redis+sentinel://:served@{places}?sentinel_password=watched"
    witness, _ = await scene.cache(url, POLICY, "A")
    await witness.write(keys[0], 1)
    await hits_return([witness], keys[:1])

    shared = SharedCounts(url, scene.prefix, deadline_s=2.0)
    one, other = PerMinute("uploads", 2, shared), PerMinute("uploads", 2, shared)
    assert [(await limit.take("somebody")).granted for limit in (one, other, one)] == [True, True, False]
    for limit in (one, other):
        await limit.aclose()
