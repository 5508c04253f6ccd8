"""One reader, one session that is held: the price of a hit, by who answers."""

from __future__ import annotations

from contextlib import AsyncExitStack

from adapters.entrypoints.bench.figures import Asked, Findings
from adapters.entrypoints.bench.method import Way, in_blocks
from adapters.entrypoints.bench.peers.cashews_ import CashewsMemory
from adapters.entrypoints.bench.peers.ours import Ours, OursFar, OursFresh
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.stage import Stage

PEERS: tuple[type[Peer], ...] = (Ours, OursFresh, OursFar, RedisPy, CashewsMemory)


async def hits(stage: Stage) -> Findings:
    """The table of hits."""
    stage = stage.with_prefix("hits")
    await stage.truth.fill(stage.documents.recorded, [0])
    async with AsyncExitStack() as stack:
        peers = []
        for kind in PEERS:
            peer = kind(stage.place, stage.truth)
            await peer.open()
            stack.push_async_callback(peer.aclose)
            await peer.read(0)
            peers.append(peer)
        ways = [Way(peer.name, peer.get) for peer in peers] + [Way("SQLAlchemy", stage.truth.load)]
        rounds = await in_blocks(ways, [[0]], stage.pace, progress=stage.progress)
    near, memory = rounds.times_as_fast(Ours.name, CashewsMemory.name), rounds.times_as_fast(Ours.name, "SQLAlchemy")
    return Findings(
        tables=(rounds.table("hits", "A hit, one reader", reference=RedisPy.name),),
        asked=(
            Asked.at_least("a hit in the process beside cashews' in memory", 1.5, near, "times as fast"),
            Asked.at_least("a hit in the process beside the same read through SQLAlchemy", 100, memory, "times as fast"),
        ),
        peers=tuple(kind.configured() for kind in PEERS),
    )
