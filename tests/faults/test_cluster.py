"""A cluster loses a primary, moves a slot, or has a node that hangs: the rest goes on, and no answer is older than promised."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.rate_limits import PerMinute, SharedCounts
from adapters.redis_cache.address import server_at
from adapters.redis_cache.keys import slot_of
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.stats import CacheStats
from domain.ports import Freshness
from domain.session import SessionId
from tests.certificates import certified
from tests.faults.conftest import Scene
from tests.faults.failovers import FAILOVER_S, entries_in, everything_goes_on, fresh, has_become_a_replica, hits_return
from tests.faults.history import Lost, now_s
from tests.faults.witness import Witness, under_load
from tests.patience import eventually
from tests.proxies import Proxy
from tests.servers import server_folder
from tests.stores import closed_port, cluster
from tests.strategies import new_id
from tests.topologies import PRIMARIES, Cluster, Node

__all__ = ["closed_port", "cluster"]

COUNT = 6
POLICY = CachePolicy(heartbeat_s=1.5, near_trust_s=0.2, connect_s=0.5, open_s=0.1, partitions=COUNT)


@pytest.fixture
async def own_cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """A cluster to be broken; with replicas where the test is called with them."""
    with server_folder() as folder:
        started = await Cluster.start(folder, replicas=getattr(request, "param", False))
        try:
            yield started
        finally:
            started.stack.close()


@pytest.fixture
def keys() -> list[SessionId]:
    """Two in each partition, in the order of the partitions: with three nodes, four of each."""
    return [next(found for found in iter(new_id, None) if found.int % COUNT == number // 2) for number in range(2 * COUNT)]


def of(node: int, keys: Sequence[SessionId]) -> list[SessionId]:
    """Those of a node as it was in the beginning: a partition's slot is in its share of the slots, as is a node's."""
    return [key for key in keys if slot_of(key.int % COUNT, COUNT) * PRIMARIES // 16384 == node]


async def sources(witness: Witness, keys: Sequence[SessionId]) -> list[str]:
    return [(await witness.read(key, Freshness.FRESH)).source for key in keys]


async def test_entries_are_spread_over_the_nodes_and_operators_see_one_cache(scene: Scene, cluster: Cluster, keys: list[SessionId]) -> None:
    witness, cache = await scene.cache(cluster.url, replace(POLICY, heartbeat_s=30.0), "A")
    for key in keys:
        assert (await witness.write(key, 1)).fresh
    assert await sources(witness, keys) == ["redis"] * len(keys)
    assert [await entries_in(node, scene) for node in cluster.nodes] == [4, 4, 4]
    contents: Any = await cache.inspection.contents()
    health: Any = await cache.inspection.health()
    assert (contents.entries, contents.sampled_entries) == (12, 12)
    assert (health.status, health.breaker, health.server.endswith("on 3 nodes")) == ("healthy", "closed", True)
    facts: Any = await cache.inspection.entry(keys[0])
    assert (facts.found, facts.believed) == ("analytics", True)
    assert len(await cache.get_many(keys, freshness=Freshness.FRESH)) == 12
    assert await cache.forget(keys[1])
    assert await sources(witness, keys[:2]) == ["redis", "postgres"]
    assert await cache.forget_everything()
    assert await sources(witness, keys) == ["postgres"] * len(keys)
    scene.check(POLICY)


async def test_one_known_node_is_enough_to_find_the_others(scene: Scene, cluster: Cluster, keys: list[SessionId], closed_port: int) -> None:
    url = f"redis+cluster://127.0.0.1:{closed_port},127.0.0.1:{cluster.nodes[2].port}/0"
    witness, _ = await scene.cache(url, POLICY, "A")
    for key in keys:
        await witness.write(key, 1)
    await hits_return([witness], keys)


async def test_a_write_that_asks_the_wrong_node_is_led_on_to_the_right_one(scene: Scene, cluster: Cluster, keys: list[SessionId]) -> None:
    witness, cache = await scene.cache(cluster.url, replace(POLICY, heartbeat_s=30.0), "A")
    await witness.write(keys[0], 1)
    server: Any = cache._server
    places = [("127.0.0.1", node.port) for node in cluster.nodes]
    server._owners = [places[(places.index(place) + 1) % PRIMARIES] for place in server._owners]
    assert (await witness.write(keys[0], 2)).fresh
    await hits_return([witness], keys[:1])
    scene.check(POLICY)


async def test_what_is_no_cluster_costs_no_answer(scene: Scene, redis_url: str, keys: list[SessionId], closed_port: int) -> None:
    witness, cache = await scene.cache(f"redis+cluster://127.0.0.1:{closed_port}", POLICY, "A")
    await witness.write(keys[0], 1)
    assert await sources(witness, keys[:1]) == ["postgres"]
    assert (await cache.inspection.health()).status == "unhealthy"


@pytest.mark.parametrize("own_cluster", [True], indirect=True, ids=["with replicas"])
@pytest.mark.parametrize("fault", ["killed", "told to", "frozen"])
async def test_after_a_failover_everything_goes_on_with_the_promoted_replica(
    scene: Scene, own_cluster: Cluster, keys: list[SessionId], fault: str
) -> None:
    witnesses = [(await scene.cache(own_cluster.url, POLICY, name))[0] for name in ("A", "B")]
    for key in keys:
        await witnesses[0].write(key, 1)
    await hits_return(witnesses, keys)
    first, second = own_cluster.nodes[1], own_cluster.nodes[1 + PRIMARIES]
    slot = slot_of(keys.index(of(1, keys)[0]) // 2, COUNT)

    began_s = now_s()
    async with under_load(witnesses, keys, readers=12, writers=2, written=keys[3:]):
        await asyncio.sleep(0.5)
        if fault == "killed":
            first.kill()
        elif fault == "frozen":
            first.send(signal.SIGSTOP)
        else:
            async with second.client() as replica:
                await replica.execute_command("CLUSTER", "FAILOVER")

        async def owner() -> Node | None:
            return await own_cluster.owner(slot, asked=own_cluster.nodes[0])

        await eventually(owner, lambda node: node is second, within_s=FAILOVER_S)
        if fault == "frozen":
            first.send(signal.SIGCONT)
            await has_become_a_replica(first)
        # What the old one had acknowledged, the new one may not have.
        scene.history.note(Lost(began_s, now_s()))
        await hits_return(witnesses, keys)
        await asyncio.sleep(POLICY.heartbeat_s + POLICY.near_trust_s)

    await everything_goes_on(witnesses, keys)
    assert await entries_in(second, scene) == 4
    scene.check(POLICY)


async def test_a_node_that_hangs_or_dies_costs_the_hits_of_its_own_partitions_alone(
    scene: Scene, own_cluster: Cluster, keys: list[SessionId]
) -> None:
    witness, cache = await scene.cache(own_cluster.url, replace(POLICY, near_entries_max=0), "A")
    for key in keys:
        await witness.write(key, 1)
    await hits_return([witness], keys)
    own_cluster.nodes[0].send(signal.SIGSTOP)
    for _ in range(3):  # One after the other: each may take a deadline, until the node's breaker is open.
        await sources(witness, of(0, keys))
    for _ in range(20):
        assert await sources(witness, of(0, keys)) == ["postgres"] * 4
        assert await sources(witness, of(1, keys) + of(2, keys)) == ["redis"] * 8
        found = await cache.get_many(keys, freshness=Freshness.FRESH)
        assert [found[key].source for key in keys] == ["postgres" if key in of(0, keys) else "redis" for key in keys]
        await asyncio.sleep(2 * POLICY.heartbeat_s / 20)  # Longer than the bound in all: the relay goes on for the others.
    health = await cache.inspection.health()
    assert (health.status, health.reason) == ("degraded", "1 of 3 nodes does not answer")
    contents: Any = await cache.inspection.contents()
    assert contents.entries is None
    assert contents.counts["hits"] > 0
    written = [await witness.write(key, 2) for key in keys]
    assert [receipt.fresh for receipt in written] == [key not in of(0, keys) for key in keys]
    own_cluster.nodes[0].send(signal.SIGCONT)
    await hits_return([witness], keys)
    assert [(await witness.read(key, Freshness.FRESH)).content for key in keys] == [2] * len(keys)
    scene.check(POLICY)


@pytest.mark.parametrize("way", ["key by key", "at once"])
async def test_a_slot_moves_to_another_node_while_it_is_read_and_written(
    scene: Scene, own_cluster: Cluster, keys: list[SessionId], way: str
) -> None:
    witnesses = [(await scene.cache(own_cluster.url, POLICY, name))[0] for name in ("A", "B")]
    for key in keys:
        await witnesses[0].write(key, 1)
    await hits_return(witnesses, keys)
    mine = of(0, keys)[:2]
    slot = slot_of(keys.index(mine[0]) // 2, COUNT)
    async with under_load(witnesses, keys, readers=12, writers=2, written=keys):
        await asyncio.sleep(0.3)
        if way == "key by key":
            await own_cluster.move(slot, own_cluster.nodes[0], own_cluster.nodes[2])
        else:
            await own_cluster.move_at_once(slot, own_cluster.nodes[0], own_cluster.nodes[2])
        await hits_return(witnesses, keys)
        await asyncio.sleep(POLICY.heartbeat_s)
    for key in keys:
        await eventually(partial(fresh, witnesses[0], key), bool)
    await hits_return(witnesses, keys)
    assert [await entries_in(node, scene) for node in own_cluster.nodes] == [2, 4, 6]
    scene.check(POLICY)


async def test_a_node_that_hangs_keeps_nobody_from_finding_the_others_who_begins_with_it(own_cluster: Cluster) -> None:
    hangs = own_cluster.nodes[0]
    hangs.send(signal.SIGSTOP)
    server: Any = server_at(own_cluster.url, POLICY, CacheStats())
    server._shuffle = lambda places: places.sort(key=lambda place: place[1] != hangs.port)
    assert len(await server.nodes()) == PRIMARIES
    await server.aclose()


async def test_an_epoch_of_a_partition_that_lost_everything_is_its_own(scene: Scene, own_cluster: Cluster, keys: list[SessionId]) -> None:
    witness, _ = await scene.cache(own_cluster.url, replace(POLICY, near_entries_max=0), "A")
    for key in keys:
        await witness.write(key, 1)
    await hits_return([witness], keys)
    async with own_cluster.nodes[2].client() as client:
        await client.flushall()
    assert await sources(witness, keys) == ["postgres" if key in of(2, keys) else "redis" for key in keys]
    await hits_return([witness], keys)
    scene.check(POLICY)


async def test_the_password_of_the_address_is_told_to_every_node(scene: Scene, own_cluster: Cluster, keys: list[SessionId]) -> None:
    for node in own_cluster.nodes:
        async with node.client() as client:
            await client.config_set("requirepass", "word")
    witness, _ = await scene.cache(own_cluster.url.replace("://", "://:word@"), POLICY, "A")
    for key in keys:
        await witness.write(key, 1)
    await hits_return([witness], keys)
    limit = PerMinute("uploads", 1, SharedCounts(own_cluster.url.replace("://", "://:word@"), scene.prefix, deadline_s=2.0))
    other = PerMinute("uploads", 1, SharedCounts(own_cluster.url.replace("://", "://:word@"), scene.prefix, deadline_s=2.0))
    assert [(await one.take("somebody")).granted for one in (limit, other)] == [True, False]
    for one in (limit, other):
        await one.aclose()


async def test_tls_is_spoken_to_every_node(scene: Scene, own_cluster: Cluster, keys: list[SessionId], tmp_path: Path) -> None:
    """Each node stands behind something that ends TLS, and tells that address."""
    context, certificate = certified(tmp_path)
    async with AsyncExitStack() as stack:
        proxies = []
        for node in own_cluster.nodes:
            proxy = Proxy.to_redis(node.url)
            proxy.tls = context
            proxies.append(await stack.enter_async_context(proxy))
            async with node.client() as client:
                await client.config_set("cluster-announce-port", proxy.port)
        places = sorted(proxy.port for proxy in proxies)

        async def announced(node: Node) -> list[int]:
            async with node.client() as client:
                return sorted(port for _, _, (_, port, *_) in await client.execute_command("CLUSTER", "SLOTS"))

        for node in own_cluster.nodes:
            await eventually(partial(announced, node), lambda ports: ports == places)
        url = f"rediss+cluster://127.0.0.1:{proxies[0].port}?ssl_ca_certs={certificate}"
        stack.push_async_callback(scene.stack.aclose)  # The caches end before what they are connected to.
        witness, _ = await scene.cache(url, POLICY, "A")
        for key in keys:
            await witness.write(key, 1)
        await hits_return([witness], keys)
        limit = PerMinute("uploads", 1, SharedCounts(url, scene.prefix, deadline_s=2.0))
        other = PerMinute("uploads", 1, SharedCounts(url, scene.prefix, deadline_s=2.0))
        assert [(await one.take("somebody")).granted for one in (limit, other)] == [True, False]
        for one in (limit, other):
            await one.aclose()
        untrusting, _ = await scene.cache(f"rediss+cluster://127.0.0.1:{proxies[0].port}", POLICY, "B")
        assert await sources(untrusting, keys[:1]) == ["postgres"]
    scene.check(POLICY)


async def test_uploads_are_counted_by_the_whole_cluster(scene: Scene, cluster: Cluster) -> None:
    shared = SharedCounts(cluster.url, scene.prefix, deadline_s=2.0)
    one, other = PerMinute("uploads", 2, shared), PerMinute("uploads", 2, shared)
    assert [(await limit.take("somebody")).granted for limit in (one, other, one)] == [True, True, False]
    for limit in (one, other):
        await limit.aclose()
