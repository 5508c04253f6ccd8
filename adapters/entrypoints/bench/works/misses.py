"""One reader, a session that nobody holds: load it from PostgreSQL, fill the cache, answer."""

from __future__ import annotations

from typing import Final

from adapters.entrypoints.bench.figures import Findings
from adapters.entrypoints.bench.method import Way, in_blocks
from adapters.entrypoints.bench.peers.aiocache_ import AiocacheRedis
from adapters.entrypoints.bench.peers.cashews_ import CashewsMemory, CashewsRedis
from adapters.entrypoints.bench.peers.dogpile_ import DogpileRedis
from adapters.entrypoints.bench.peers.fastapi_cache_ import FastapiCache
from adapters.entrypoints.bench.peers.opening import Opening
from adapters.entrypoints.bench.peers.ours import Ours
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.postgres import Sqlalchemy
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.stage import Stage

PEERS: Final[tuple[type[Peer], ...]] = (
    Ours, RedisPy, CashewsMemory, CashewsRedis, AiocacheRedis, DogpileRedis, FastapiCache, Sqlalchemy,
)  # fmt: skip
_SESSIONS: Final = range(1_000, 1_256)
_NOTES: Final = (
    "Emg-Sessions asks Redis three times: for the entry, for a lease, and to store under that lease, which a write in between voids. A"
    " cache that stores without one may store what has just been overwritten, and keep it for its whole TTL.",
)


async def misses(stage: Stage) -> Findings:
    """No session is asked for twice in a turn, and all are dropped before it."""
    stage = stage.with_prefix("misses")
    await stage.truth.fill(stage.documents.recorded, _SESSIONS)
    async with Opening(stage) as opening:
        ways = [Way(peer.name, peer.read, before=peer.drop) for peer in await opening.peers(PEERS)]
        rounds = await in_blocks(ways, [_SESSIONS], stage.pace, once=True, progress=stage.progress)
    return Findings(
        tables=(rounds.table("misses", "A miss: load from PostgreSQL and fill the cache", reference=Sqlalchemy.name, notes=_NOTES),),
        peers=tuple(kind.configured() for kind in PEERS),
    )
