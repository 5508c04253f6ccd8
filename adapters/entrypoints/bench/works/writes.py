"""One writer: save analytics that differ, and see to it that no reader gets the old ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

from adapters.entrypoints.bench.documents import of_session
from adapters.entrypoints.bench.figures import Findings
from adapters.entrypoints.bench.method import Way, in_blocks
from adapters.entrypoints.bench.peers.aiocache_ import AiocacheRedis
from adapters.entrypoints.bench.peers.cashews_ import CashewsClientSide, CashewsRedis
from adapters.entrypoints.bench.peers.dogpile_ import DogpileRedis
from adapters.entrypoints.bench.peers.opening import Opening
from adapters.entrypoints.bench.peers.ours import Ours
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.postgres import Sqlalchemy
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.stage import Stage

PEERS: Final[tuple[type[Peer], ...]] = (Ours, RedisPy, CashewsRedis, CashewsClientSide, AiocacheRedis, DogpileRedis, Sqlalchemy)
_SESSIONS: Final = range(2_000, 2_032)
_NOTES: Final = (
    "All save through the same repository, in one transaction of PostgreSQL, which waits for its disk. The peers then delete the key: a"
    " reader that loaded just before may put the old document back, and the next one has a miss. Emg-Sessions invalidates, which also voids"
    " the leases of such readers, and reads the session once, so that it is in Redis again before the write is acknowledged.",
)


async def writes(stage: Stage) -> Findings:
    """Every save has content of its own."""
    stage = stage.with_prefix("writes")
    await stage.truth.fill(stage.documents.recorded, _SESSIONS)
    editions = count(1)

    def saving(peer: Peer) -> Callable[[int], Awaitable[object]]:
        async def save(number: int) -> None:
            await peer.save(number, of_session(stage.documents.recorded, number, next(editions)))

        return save

    async with Opening(stage) as opening:
        ways = [Way(peer.name, saving(peer)) for peer in await opening.peers(PEERS, _SESSIONS)]
        rounds = await in_blocks(ways, [_SESSIONS], stage.pace, progress=stage.progress)
    return Findings(
        tables=(
            rounds.table("writes", "A write: save, and take what is outdated from the cache", reference=Sqlalchemy.name, notes=_NOTES),
        ),
        peers=tuple(kind.configured() for kind in PEERS),
    )
