"""One reader, a hundred sessions at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from adapters.entrypoints.bench.figures import Findings
from adapters.entrypoints.bench.method import Way, in_blocks
from adapters.entrypoints.bench.peers.aiocache_ import AiocacheRedis
from adapters.entrypoints.bench.peers.cashews_ import CashewsClientSide, CashewsMemory, CashewsRedis
from adapters.entrypoints.bench.peers.dogpile_ import DogpileRedis
from adapters.entrypoints.bench.peers.glide_ import Glide
from adapters.entrypoints.bench.peers.opening import Opening
from adapters.entrypoints.bench.peers.ours import Ours, OursFar, OursFresh
from adapters.entrypoints.bench.peers.peer import BatchPeer
from adapters.entrypoints.bench.peers.postgres import Asyncpg, Sqlalchemy
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.stage import Stage

PEERS: Final[tuple[type[BatchPeer], ...]] = (
    Ours, OursFresh, OursFar, RedisPy, Glide, CashewsMemory, CashewsRedis, CashewsClientSide, AiocacheRedis, DogpileRedis, Sqlalchemy,
    Asyncpg,
)  # fmt: skip
SIZE: Final = 100
_SESSIONS: Final = range(3_000, 3_000 + SIZE)


async def batches(stage: Stage) -> Findings:
    """All hundred are held."""
    stage = stage.with_prefix("batches")
    await stage.truth.fill(stage.documents.recorded, _SESSIONS)

    def batch(peer: BatchPeer) -> Callable[[int], Awaitable[object]]:
        return lambda _: peer.get_many(_SESSIONS)

    async with Opening(stage) as opening:
        ways = [Way(peer.name, batch(peer), before=peer.settle) for peer in await opening.peers(PEERS, _SESSIONS)]
        rounds = await in_blocks(ways, [[_SESSIONS[0]]], stage.pace, progress=stage.progress)
    return Findings(
        tables=(rounds.table("batches", f"A batch of {SIZE} sessions that are held", reference=RedisPy.name),),
        peers=tuple(kind.configured() for kind in PEERS),
    )
