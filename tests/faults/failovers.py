"""What is asked of every failover, whoever decided it: hits return, and what is written from then on is with the new primary."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from domain.ports import Freshness
from domain.session import SessionId
from tests.faults.conftest import Scene
from tests.faults.witness import Witness
from tests.patience import eventually
from tests.topologies import Node

FAILOVER_S = 30.0


async def hits_return(witnesses: Sequence[Witness], keys: Sequence[SessionId]) -> None:
    for witness in witnesses:
        for key in keys:

            async def hit(witness: Witness = witness, key: SessionId = key) -> str:
                return (await witness.read(key, Freshness.FRESH)).source

            await eventually(hit, lambda source: source == "redis", within_s=20)


async def fresh(witness: Witness, key: SessionId) -> bool:
    return (await witness.write(key, 7)).fresh


async def entries_in(node: Node, scene: Scene) -> int:
    async with node.client() as client:
        return len([name async for name in client.scan_iter(match=f"{scene.prefix}:*:e:*", count=1000)])


async def has_become_a_replica(node: Node) -> None:
    """It goes on as a primary for some seconds, until somebody tells it that it is none."""

    async def role() -> str:
        async with node.client() as client:
            return str((await client.info("replication"))["role"])

    await eventually(role, lambda role: role == "slave", within_s=FAILOVER_S)


async def everything_goes_on(witnesses: Sequence[Witness], keys: Sequence[SessionId]) -> None:
    """Reads and scripts alike: what one writes now is in the new primary, and another's FRESH readers see it there."""
    for key in keys:
        await eventually(partial(fresh, witnesses[0], key), bool)
    for key in keys:
        assert (await witnesses[1].read(key, Freshness.FRESH)).content == 7
    await hits_return(witnesses, keys)
