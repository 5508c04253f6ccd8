"""Many readers at once, in one process: of one session, of one each, of any, and of some far more often than of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from random import Random
from typing import Final

import redis.asyncio as redis

from adapters.entrypoints.bench.figures import Asked, Curves, Findings, Line, Table
from adapters.entrypoints.bench.method import Rounds, Way, in_blocks
from adapters.entrypoints.bench.peers.aiocache_ import AiocacheRedis
from adapters.entrypoints.bench.peers.cashews_ import CashewsClientSide, CashewsMemory, CashewsRedis
from adapters.entrypoints.bench.peers.dogpile_ import DogpileRedis
from adapters.entrypoints.bench.peers.fastapi_cache_ import FastapiCache
from adapters.entrypoints.bench.peers.glide_ import Glide
from adapters.entrypoints.bench.peers.opening import Opening
from adapters.entrypoints.bench.peers.ours import Ours, OursFar, OursFresh
from adapters.entrypoints.bench.peers.peer import ENTRIES_MAX, Peer
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.stage import Stage

PEERS: Final[tuple[type[Peer], ...]] = (
    Ours, OursFresh, OursFar, RedisPy, Glide, CashewsMemory, CashewsRedis, CashewsClientSide, AiocacheRedis, DogpileRedis, FastapiCache,
)  # fmt: skip
_FIRST: Final = 10_000
_READS_PLANNED: Final = 4_096
# Of shorter turns the beginning is a third for the fastest.
_TURN_S_MIN: Final = 0.06
_GET: Final = RedisPy.name_raw
_NOTES_MANY: Final = (
    f"Emg-Sessions and cashews in memory hold {ENTRIES_MAX:,} sessions in the process, cashews client side 10,000, its default. What is"
    " not held there comes from Redis; of cashews in memory, from PostgreSQL.",
)


async def readers(stage: Stage) -> Findings:
    """All four ways to choose sessions, by 64 and by 256 readers; the last also by fewer, for the curves."""
    stage = stage.with_prefix("readers")
    sessions = range(_FIRST, _FIRST + stage.pace.sessions)
    stage.progress.at(0, f"filling {len(sessions):,} sessions")
    await stage.truth.fill(stage.documents.recorded, sessions)
    counts = stage.pace.readers
    choices = {
        "one": ("of one session", counts if stage.pace.thorough else counts[-1:]),
        "own": ("of a session each", counts if stage.pace.thorough else counts[:1]),
        "uniform": (f"of any of {len(sessions):,} sessions", counts if stage.pace.thorough else counts[:1]),
        "zipf": (f"of {len(sessions):,} sessions by Zipf's law", ((1, 16) if stage.pace.thorough else (1,)) + counts),
    }
    asked = ("own", counts[0])
    plan = [(name, title, count) for name, (title, each) in choices.items() for count in each]
    found: dict[tuple[str, int], Rounds] = {}
    tables: list[Table] = []
    async with Opening(stage) as opening:
        evicted = await _evicted(stage)
        peers = await opening.peers(PEERS, sessions)
        ways = [Way(peer.name, peer.read, before=peer.settle) for peer in peers]
        ways += [Way(peer.name_raw, peer.raw, before=peer.settle) for peer in peers if isinstance(peer, RedisPy | OursFar)]
        for place, (name, title, count) in enumerate(plan):
            numbers = chosen(name, sessions, count, Random(count))
            pace = replace(stage.pace, turn_s=max(stage.pace.turn_s, _TURN_S_MIN)) if (name, count) == asked else stage.pace.fewer
            rounds = await in_blocks(ways, numbers, pace, progress=stage.progress.part(place, len(plan)))
            found[name, count] = rounds
            if count in counts:
                table = rounds.table(f"readers_{name}_{count}", f"{count} readers {title}", reference=_GET, per_second=True)
                tables.append(table.with_notes(*_NOTES_MANY) if (name, count) == plan[-1][::2] else table)
        evicted = await _evicted(stage) - evicted
    if evicted:  # Then some hits were none, and whose is chance.
        tables[0] = tables[0].with_notes(f"Redis had too little memory and evicted {evicted:,} keys meanwhile: do not trust these figures.")
    fresh = found[asked].times_as_fast(OursFresh.name, _GET)
    fresh_text = f"{counts[0]} readers of different sessions, FRESH, beside redis-py GETs without decoding"
    return Findings(
        tables=tuple(tables),
        curves=(_curves({count: rounds for (name, count), rounds in found.items() if name == "zipf"}, choices["zipf"][0]),),
        asked=(Asked.at_least(fresh_text, 4, fresh, "times"),),
        peers=tuple(kind.configured() for kind in PEERS),
    )


def chosen(how: str, sessions: Sequence[int], count: int, rng: Random) -> list[list[int]]:
    """Which sessions each of so many readers asks for, one after another."""
    match how:
        case "one":
            return [[sessions[0]]] * count
        case "own":
            return [[sessions[reader]] for reader in range(count)]
        case "uniform":
            return [rng.choices(sessions, k=_READS_PLANNED) for _ in range(count)]
        case "zipf":
            weights = list(accumulate(1 / rank for rank in range(1, len(sessions) + 1)))
            return [rng.choices(sessions, cum_weights=weights, k=_READS_PLANNED) for _ in range(count)]
    raise ValueError(how)


async def _evicted(stage: Stage) -> int:
    """How many keys the server has pushed out so far."""
    async with redis.Redis.from_url(stage.place.redis_url) as client:
        return int((await client.info("stats"))["evicted_keys"])


def _curves(found: dict[int, Rounds], title: str) -> Curves:
    ways = next(iter(found.values())).us
    return Curves(
        "throughput",
        f"Throughput by concurrency: reads {title}",
        "readers",
        "reads a second",
        tuple(Line(way, tuple(map(float, found)), tuple(1e6 / rounds.median_us(way) for rounds in found.values())) for way in ways),
    )
