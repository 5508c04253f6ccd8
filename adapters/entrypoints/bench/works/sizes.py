"""Hits of documents of 4 KB, 100 KB and 1 MB, compressed: one reader."""

from __future__ import annotations

from typing import Final

from adapters.entrypoints.bench.documents import of_session
from adapters.entrypoints.bench.figures import Findings, Table
from adapters.entrypoints.bench.method import Way, in_blocks
from adapters.entrypoints.bench.peers.aiocache_ import AiocacheRedis
from adapters.entrypoints.bench.peers.cashews_ import CashewsClientSide, CashewsMemory, CashewsRedis
from adapters.entrypoints.bench.peers.dogpile_ import DogpileRedis
from adapters.entrypoints.bench.peers.glide_ import Glide
from adapters.entrypoints.bench.peers.opening import Opening
from adapters.entrypoints.bench.peers.ours import Ours, OursFar, OursFresh
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.postgres import Sqlalchemy
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.stage import Stage

PEERS: Final[tuple[type[Peer], ...]] = (
    Ours, OursFresh, OursFar, RedisPy, Glide, CashewsMemory, CashewsRedis, CashewsClientSide, AiocacheRedis, DogpileRedis, Sqlalchemy,
)  # fmt: skip
_FIRST: Final = 4_000
_NOTES: Final = (
    "Emg-Sessions decompresses and decodes what is large in a thread, so that the event loop goes on serving others meanwhile; the peers"
    " do it on the event loop, dogpile.cache in the thread in which it reads.",
)


async def sizes(stage: Stage) -> Findings:
    """One table a size."""
    tables: list[Table] = []
    for place, (name, analytics) in enumerate(stage.documents.sized.items()):
        number, of_size = _FIRST + place, stage.with_prefix(f"size{place}")
        await stage.truth.repository.save(of_session(analytics, number))
        async with Opening(of_size) as opening:
            ways = [Way(peer.name, peer.get, before=peer.settle) for peer in await opening.peers(PEERS, [number], analytics)]
            rounds = await in_blocks(ways, [[number]], stage.pace, progress=stage.progress.part(place, len(stage.documents.sized)))
        title = f"A hit: one reader, a document of {name} compressed"
        tables.append(rounds.table(f"size_{name.replace(' ', '').lower()}", title, reference=RedisPy.name))
    return Findings(tables=(*tables[:-1], tables[-1].with_notes(*_NOTES)), peers=tuple(kind.configured() for kind in PEERS))
