"""What a cached session takes of Redis's memory, whatever keys a cache has for it: MEMORY USAGE of all of them, by session."""

from __future__ import annotations

from typing import Final

import redis.asyncio as redis

from adapters import document
from adapters.entrypoints.bench.documents import of_session
from adapters.entrypoints.bench.figures import Asked, Findings, Row, Spread, Table
from adapters.entrypoints.bench.peers.aiocache_ import AiocacheRedis
from adapters.entrypoints.bench.peers.cashews_ import CashewsRedis
from adapters.entrypoints.bench.peers.dogpile_ import DogpileRedis
from adapters.entrypoints.bench.peers.fastapi_cache_ import FastapiCache
from adapters.entrypoints.bench.peers.opening import Opening
from adapters.entrypoints.bench.peers.ours import OursFar
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.stage import Stage

PEERS: Final[tuple[type[Peer], ...]] = (OursFar, RedisPy, CashewsRedis, AiocacheRedis, DogpileRedis, FastapiCache)
_SESSIONS: Final = range(50_000, 50_100)
_PLAIN: Final = "redis-py SET, plain JSON"
_KEYS_AT_ONCE: Final = 1000
_NOTE: Final = (
    "Of {sessions} sessions with one document, all keys of a cache are counted: ours are the entries, the heartbeat, the position and the"
    " counters. Those that pickle store the same dataclasses uncompressed, as their documentation has it."
)


async def memory(stage: Stage) -> Findings:
    """Bytes of Redis a session, by who caches it."""
    found: dict[str, list[float]] = {}
    await stage.truth.fill(stage.documents.recorded, _SESSIONS)
    async with redis.Redis.from_url(stage.place.redis_url) as client:
        for place, kind in enumerate(PEERS):
            stage.progress.at(place / len(PEERS), kind.name)
            own = stage.with_prefix(f"memory{place}")
            async with Opening(own) as opening:
                peer = await opening.peer(kind)
                for number in _SESSIONS:
                    await peer.read(number)
                found[kind.name] = [await used_bytes(client, own.place.key_prefix) / len(_SESSIONS)]
        own = stage.with_prefix("memory_plain")
        for number in _SESSIONS:
            await client.set(f"{own.place.key_prefix}:{number}", document.encode(of_session(stage.documents.recorded, number)), ex=3600)
        found[_PLAIN] = [await used_bytes(client, own.place.key_prefix) / len(_SESSIONS)]
    rows = tuple(Row(way, Spread.of(values)) for way, values in found.items())
    note = _NOTE.format(sessions=len(_SESSIONS))
    table = Table("memory", "Redis memory for a session", "bytes", less_is_better=True, reference=None, rows=rows, notes=(note,))
    kilobytes = [each / 1000 for each in found[OursFar.name]]
    return Findings(
        tables=(table,),
        asked=(Asked.at_most("Redis memory for a session", 5, kilobytes, "KB"),),
        peers=tuple(kind.configured() for kind in PEERS),
    )


async def used_bytes(client: redis.Redis, prefix: str) -> int:
    """What all keys take that have this prefix in their name."""
    total, keys = 0, client.scan_iter(match=f"*{prefix}*", count=_KEYS_AT_ONCE)
    async for key in keys:
        total += await client.memory_usage(key, samples=0) or 0
    return total
