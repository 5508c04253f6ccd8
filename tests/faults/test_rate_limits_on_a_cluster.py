"""The counts of a rate limit are in a cluster that loses a primary or moves it elsewhere: every caller is answered, and the counts are
shared again afterwards."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from adapters.rate_limits import PerMinute, SharedCounts
from tests.faults.failovers import FAILOVER_S
from tests.patience import eventually
from tests.servers import server_folder
from tests.topologies import PRIMARIES, SLOTS, Cluster, Node

CALLERS = 24  # On every node there are some.
DEADLINE_S = 0.5


@pytest.fixture
async def own_cluster() -> AsyncIterator[Cluster]:
    """A cluster with replicas, to be broken."""
    with server_folder() as folder:
        started = await Cluster.start(folder, replicas=True)
        try:
            yield started
        finally:
            started.stack.close()


@pytest.fixture
async def limits(own_cluster: Cluster, redis_prefix: str) -> AsyncIterator[list[PerMinute]]:
    """Those of two processes: one a minute."""
    async with AsyncExitStack() as stack:
        both = [PerMinute("uploads", 1, SharedCounts(own_cluster.url, redis_prefix, DEADLINE_S)) for _ in range(2)]
        for limit in both:
            stack.push_async_callback(limit.aclose)
        yield both


class Callers:
    """Ask both processes, each time under names that nobody had before."""

    def __init__(self, limits: list[PerMinute]) -> None:
        self._limits = limits
        self._asked = 0

    async def refused_by_the_second(self) -> int:
        """How many of the callers that the first process granted theirs were refused by the second; each of them was answered."""
        self._asked += 1
        refused = 0
        for number in range(CALLERS):
            first, second = [await limit.take(f"caller {number} of turn {self._asked}") for limit in self._limits]
            assert first.granted
            refused += not second.granted
        return refused


@pytest.mark.parametrize(("number", "fault"), [(0, "hangs"), (1, "killed"), (1, "told to"), (1, "hangs")])
async def test_after_a_failover_the_counts_are_shared_again(own_cluster: Cluster, limits: list[PerMinute], number: int, fault: str) -> None:
    callers = Callers(limits)
    assert await callers.refused_by_the_second() == CALLERS
    first, second = own_cluster.nodes[number], own_cluster.nodes[number + PRIMARIES]
    if fault == "killed":
        first.kill()
    elif fault == "hangs":
        first.send(signal.SIGSTOP)
    else:
        async with second.client() as replica:
            await replica.execute_command("CLUSTER", "FAILOVER")

    async def owner() -> Node | None:
        await callers.refused_by_the_second()
        return await own_cluster.owner(number * SLOTS // 2, asked=own_cluster.nodes[2])

    await eventually(owner, lambda node: node is second, within_s=FAILOVER_S)
    await eventually(callers.refused_by_the_second, lambda refused: refused == CALLERS, within_s=FAILOVER_S)


async def test_counts_follow_slots_that_moved(own_cluster: Cluster, limits: list[PerMinute]) -> None:
    callers = Callers(limits)
    assert await callers.refused_by_the_second() == CALLERS
    source, target = own_cluster.nodes[1], own_cluster.nodes[2]
    async with source.client() as client:
        first, last = SLOTS // PRIMARIES, 2 * SLOTS // PRIMARIES - 1
        await client.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", own_cluster.ids[target.port])

    async def owner() -> Node | None:
        await callers.refused_by_the_second()
        return await own_cluster.owner(SLOTS // 2, asked=target)

    await eventually(owner, lambda node: node is target, within_s=FAILOVER_S)
    await eventually(callers.refused_by_the_second, lambda refused: refused == CALLERS, within_s=FAILOVER_S)


async def test_without_any_node_each_process_counts_for_itself(own_cluster: Cluster, limits: list[PerMinute]) -> None:
    callers = Callers(limits)
    assert await callers.refused_by_the_second() == CALLERS
    for node in own_cluster.nodes:
        node.kill()
    assert await callers.refused_by_the_second() == 0
    assert [(await limits[0].take("somebody")).granted for _ in range(2)] == [True, False]


async def test_who_begins_without_any_node_counts_alone(own_cluster: Cluster, limits: list[PerMinute]) -> None:
    for node in own_cluster.nodes:
        node.kill()
    assert [(await limits[0].take("somebody")).granted for _ in range(2)] == [True, False]
