"""One reader, one session that is held: the price of a hit, by who answers."""

from __future__ import annotations

from typing import Final

from adapters.entrypoints.bench.figures import Asked, Findings
from adapters.entrypoints.bench.method import Rounds, Way, call_by_call, in_blocks
from adapters.entrypoints.bench.peers.aiocache_ import AiocacheMemory, AiocacheRedis
from adapters.entrypoints.bench.peers.cashews_ import CashewsClientSide, CashewsMemory, CashewsRedis
from adapters.entrypoints.bench.peers.dogpile_ import DogpileMemory, DogpileRedis
from adapters.entrypoints.bench.peers.fastapi_cache_ import FastapiCache
from adapters.entrypoints.bench.peers.glide_ import Glide
from adapters.entrypoints.bench.peers.opening import Opening
from adapters.entrypoints.bench.peers.ours import Ours, OursFar, OursFresh
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.postgres import Asyncpg, Sqlalchemy
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.stage import Stage

PEERS: Final[tuple[type[Peer], ...]] = (
    Ours, OursFresh, OursFar, RedisPy, Glide, CashewsMemory, CashewsRedis, CashewsClientSide, AiocacheMemory, AiocacheRedis,
    DogpileMemory, DogpileRedis, FastapiCache, Sqlalchemy, Asyncpg,
)  # fmt: skip
_NOTES: Final = (
    "All but the bare GETs end in the same frozen dataclasses, or in copies of them. What a copy costs that nobody may trust is not seen"
    " here: the caches in memory are not told of writes by other processes; Emg-Sessions asks for them every second.",
)


async def hits(stage: Stage) -> Findings:
    """In blocks, then call by call where ways differ by little."""
    stage = stage.with_prefix("hits")
    await stage.truth.fill(stage.documents.recorded, [0])
    async with Opening(stage) as opening:
        peers = {kind: await opening.peer(kind, [0]) for kind in PEERS}
        ways = [Way(peer.name, peer.get, before=peer.settle) for peer in peers.values()]
        bare, glide, far = peers[RedisPy], peers[Glide], peers[OursFar]
        assert isinstance(bare, RedisPy)  # noqa: S101 - as they were made
        assert isinstance(glide, Glide)  # noqa: S101
        assert isinstance(far, OursFar)  # noqa: S101
        ways += [Way(peer.name_raw, peer.raw, before=peer.settle) for peer in (bare, glide, far)]
        blocks = await in_blocks(ways, [[0]], stage.pace, progress=stage.progress)
        singles = await call_by_call([Way(peer.name, peer.get) for peer in (far, bare, glide)], [0], stage.pace, progress=stage.progress)
        heartbeat = await _heartbeat(bare, stage)
    near = Ours.name
    return Findings(
        tables=(
            blocks.table("hits", "A hit: one reader, one session", reference=RedisPy.name, notes=_NOTES),
            singles.table("hits_call_by_call", "A hit in Redis, call by call in turn", reference=RedisPy.name),
            heartbeat.table("heartbeat", "What the heartbeat beside an entry costs", reference=_WITHOUT),
        ),
        asked=(
            Asked.at_least("hit in the process, beside cashews in memory", 1.5, blocks.times_as_fast(near, CashewsMemory.name), "times"),
            Asked.at_least(
                "hit in the process, beside the read through SQLAlchemy", 100, blocks.times_as_fast(near, Sqlalchemy.name), "times"
            ),
            Asked.at_most(
                "hit in Redis to a decoded value, more than redis-py GET, decompressed and decoded",
                15,
                singles.added_us(OursFar.name, RedisPy.name),
                "µs",
            ),
            Asked.at_most("heartbeat, a read", 5, heartbeat.added_us(_WITH, _WITHOUT), "µs"),
        ),
        peers=tuple(kind.configured() for kind in PEERS),
    )


_WITH: Final = "redis-py MGET of an entry and the heartbeat"
_WITHOUT: Final = "redis-py MGET of an entry"


async def _heartbeat(bare: RedisPy, stage: Stage) -> Rounds:
    """MGET of an entry alone, and with the eight bytes that say whether it may be believed."""
    heartbeat = f"{stage.place.key_prefix}:heartbeat"
    await bare.client.set(heartbeat, b"12345678")
    ways = [
        Way(_WITH, lambda number: bare.client.mget([bare.key(number), heartbeat])),
        Way(_WITHOUT, lambda number: bare.client.mget([bare.key(number)])),
    ]
    return await call_by_call(ways, [0], stage.pace, progress=stage.progress)
