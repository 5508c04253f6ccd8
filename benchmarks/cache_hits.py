"""Reads of one document beside their peers, in one run on real servers: embedded ones, or those in DATABASE_URL and REDIS_URL.

    python benchmarks/cache_hits.py [--rounds N] [--json] [--recording FILE]

All read the same document, of a real or a synthetic recording. Rounds take turns, so that whatever else the machine does weighs on all;
each figure compares two ways within every round, and is the median of these comparisons, with the least and the most. Concurrent readers
are tasks that read one session after another. Peers are used as their documentation advises: cashews with its in-memory backend, redis-py
with hiredis and one client. Ratios matter; absolute times on a shared machine do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import redis.asyncio as redis
import zstandard
from cashews import Cache

from adapters import document
from adapters.c3d.reader import C3dRecordingReader
from adapters.c3d.synthesis import synthesise
from adapters.embedded import EmbeddedPostgres, EmbeddedValkey
from adapters.postgres import migrations
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from adapters.settings import load_settings
from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.emg.analysis import analyse
from domain.ports import Freshness
from domain.session import SessionId

CONCURRENT = 64
Read = Callable[[int], Awaitable[object]]


@dataclass
class Work:
    """One way of reading, and how long its rounds took, in µs a read."""

    name: str
    read: Read
    reads: int
    concurrent: bool = False

    def __post_init__(self) -> None:
        self.us: list[float] = []

    async def round(self) -> None:
        begin = time.perf_counter()
        if self.concurrent:
            await asyncio.gather(*(self._reader(key, self.reads // CONCURRENT) for key in range(CONCURRENT)))
        else:
            for _ in range(self.reads):
                await self.read(0)
        self.us.append((time.perf_counter() - begin) / self.reads * 1e6)

    async def _reader(self, key: int, reads: int) -> None:
        for _ in range(reads):
            await self.read(key)

    @property
    def median_us(self) -> float:
        return statistics.median(self.us)


async def added_by(one: Read, other: Read, calls: int) -> float:
    """What one way of reading takes more than another, in µs: of single calls in turns, by their medians."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(calls):
        for read, us in zip((one, other), times, strict=True):
            begin = time.perf_counter()
            await read(0)
            us.append((time.perf_counter() - begin) * 1e6)
    return statistics.median(times[0]) - statistics.median(times[1])


def analytics_of(recording: Path | None) -> SessionAnalytics:
    with tempfile.TemporaryDirectory() as folder:
        path = recording or Path(folder) / "synthetic.c3d"
        if recording is None:
            synthesise(path, seed=1)
        parameters = AnalysisParameters()
        return analyse(C3dRecordingReader().read(path, parameters), parameters, processed_at=datetime.now(UTC))


async def compare(database_url: str, redis_url: str, analytics: SessionAnalytics, rounds: int) -> dict[str, object]:
    engine = create_engine(database_url, PostgresPolicy())
    await migrations.upgrade(engine)
    stored = PostgresSessionAnalyticsRepository(engine)
    prefix = f"bench_{uuid4().hex[:8]}"
    near = cached(stored, stored, redis_url=redis_url, key_prefix=prefix, policy=CachePolicy(near_trust_s=3600))
    far = cached(stored, stored, redis_url=redis_url, key_prefix=prefix, policy=CachePolicy(near_entries_max=0))
    await near.open()
    await far.open()
    ids = [SessionId(uuid4()) for _ in range(CONCURRENT)]
    for session_id in ids:
        await near.save(replace(analytics, session_id=session_id))
        await far.get(session_id)

    bare = redis.Redis.from_url(redis_url, max_connections=CONCURRENT)
    body = document.encode(analytics)
    payload = zstandard.ZstdCompressor(level=3).compress(body)
    decompressor = zstandard.ZstdDecompressor()
    for key in range(CONCURRENT):
        await bare.set(f"{prefix}:bare:{key}", payload, ex=3600)
    await bare.set(f"{prefix}:hb", b"12345678")
    memory = Cache()
    memory.setup("mem://", size=10_000)
    await memory.set("document", analytics, expire=3600)

    async def get_and_decode(key: int) -> object:
        found = await bare.get(f"{prefix}:bare:{key}")
        assert isinstance(found, bytes)  # noqa: S101
        return document.decode(decompressor.decompress(found), of="the peer")

    async def with_heartbeat(key: int) -> object:
        return await bare.mget([f"{prefix}:bare:{key}", f"{prefix}:hb"])

    async def without(key: int) -> object:
        return await bare.mget([f"{prefix}:bare:{key}"])

    works = [
        Work("near hit", lambda key: near.get(ids[key]), 20_000),
        Work("cashews in memory", lambda _: memory.get("document"), 5_000),
        Work("SQLAlchemy", lambda key: stored.get(ids[key]), 300),
        Work("Redis hit, decoded", lambda key: far.get(ids[key], freshness=Freshness.FRESH), 1_000),
        Work("FRESH hit of what is near", lambda key: near.get(ids[key], freshness=Freshness.FRESH), 1_000),
        Work("redis-py GET", lambda key: bare.get(f"{prefix}:bare:{key}"), 1_000),
        Work("redis-py GET, decompressed and decoded", get_and_decode, 1_000),
        Work("64 readers: near hits", lambda key: near.get(ids[key]), 12_800, concurrent=True),
        Work("64 readers: FRESH hits of what is near", lambda key: near.get(ids[key], freshness=Freshness.FRESH), 5_120, concurrent=True),
        Work("64 readers: Redis hits, as stored", lambda key: far.get_document(ids[key]), 5_120, concurrent=True),
        Work("64 readers: Redis hits, decoded", lambda key: far.get(ids[key]), 2_560, concurrent=True),
        Work("64 readers: redis-py GETs", lambda key: bare.get(f"{prefix}:bare:{key}"), 2_560, concurrent=True),
        Work("64 readers: redis-py GETs, decoded", get_and_decode, 2_560, concurrent=True),
    ]
    heartbeat_us: list[float] = []
    for work in works:
        await work.read(0)  # Connections, scripts, caches.
    for done in range(rounds):
        print(f"\rround {done + 1} of {rounds}", end="", file=sys.stderr)
        for work in works:
            await work.round()
        heartbeat_us.append(await added_by(with_heartbeat, without, 500))
    print(file=sys.stderr)
    us = {work.name: work.us for work in works}
    information = await bare.info("server")
    await near.aclose()
    await far.aclose()
    await bare.aclose()
    await memory.close()
    await engine.dispose()
    return {
        "document_bytes": len(body),
        "payload_bytes": len(payload),
        "server": information.get("valkey_version") or information.get("redis_version"),
        "us": {work.name: [round(work.median_us, 2), round(min(work.us), 2), round(max(work.us), 2)] for work in works},
        "figures": {
            "near hit, times as fast as cashews in memory (asked: 1.5)": ratios(us["cashews in memory"], us["near hit"]),
            "near hit, times as fast as SQLAlchemy (asked: 100)": ratios(us["SQLAlchemy"], us["near hit"]),
            "Redis hit, µs more than redis-py GET + decompress + decode (asked: 15 at most)": [
                ours - theirs for ours, theirs in zip(us["Redis hit, decoded"], us["redis-py GET, decompressed and decoded"], strict=True)
            ],
            "64 readers of different keys, FRESH, times the throughput of redis-py GETs (asked: 4)": ratios(
                us["64 readers: redis-py GETs"], us["64 readers: FRESH hits of what is near"]
            ),
            "64 readers without copies in the process, as stored, times redis-py GETs": ratios(
                us["64 readers: redis-py GETs"], us["64 readers: Redis hits, as stored"]
            ),
            "64 readers without copies in the process, decoded, times redis-py GETs decoded": ratios(
                us["64 readers: redis-py GETs, decoded"], us["64 readers: Redis hits, decoded"]
            ),
            "heartbeat, µs a read (asked: 5 at most)": heartbeat_us,
        },
    }


def ratios(theirs: list[float], ours: list[float]) -> list[float]:
    """How many times as fast we were, round by round."""
    return [their_us / our_us for their_us, our_us in zip(theirs, ours, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--recording", type=Path)
    options = parser.parse_args()
    settings = load_settings()
    analytics = analytics_of(options.recording)
    with tempfile.TemporaryDirectory(prefix="emg-bench-") as folder:
        postgres, valkey = EmbeddedPostgres(Path(folder)), EmbeddedValkey(Path(folder))
        try:
            database_url = settings.database_url.get_secret_value() if settings.database_url else postgres.open()
            redis_url = settings.redis_url.get_secret_value() if settings.redis_url else valkey.open()
            found = asyncio.run(compare(database_url, redis_url, analytics, options.rounds))
        finally:
            postgres.close()
            valkey.close()
    if options.json:
        print(json.dumps(found))
        return
    print(f"document {found['document_bytes']} bytes, {found['payload_bytes']} compressed; server {found['server']}")
    for name, (median, least, most) in found["us"].items():  # type: ignore[attr-defined]
        print(f"{name:45} {median:10.2f} µs   ({least:.2f} to {most:.2f})")
    for name, rounds in found["figures"].items():  # type: ignore[attr-defined]
        print(f"{statistics.median(rounds):10.2f}  ({min(rounds):.2f} to {max(rounds):.2f})  {name}")


if __name__ == "__main__":
    main()
