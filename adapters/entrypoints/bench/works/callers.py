"""The process of callers that stampede.py starts: it is told by lines of JSON on its standard input, and answers on its standard output."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import msgspec

from adapters.entrypoints.bench.peers.aiocache_ import AiocacheRedis
from adapters.entrypoints.bench.peers.cashews_ import CashewsRedis
from adapters.entrypoints.bench.peers.dogpile_ import DogpileRedis
from adapters.entrypoints.bench.peers.fastapi_cache_ import FastapiCache
from adapters.entrypoints.bench.peers.ours import Ours
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import open_truth
from adapters.logs import configure_logs

PEERS: Final[tuple[type[Peer], ...]] = (Ours, CashewsRedis, AiocacheRedis, DogpileRedis, FastapiCache, RedisPy)


@dataclass(frozen=True, slots=True)
class Setting:
    """The first line: where everything is, and how many callers call at once."""

    database_url: str
    redis_url: str
    key_prefix: str
    callers: int


@dataclass(frozen=True, slots=True)
class Stampede:
    """Every further line: all callers read this session by this peer, from a moment of time.monotonic on."""

    peer: str
    number: int
    begin_at: float


@dataclass(frozen=True, slots=True)
class Called:
    """The answer: how often this process loaded it, and how long after the moment all its callers had it."""

    loads: int
    took_s: float


async def call(setting: Setting) -> None:
    """Until standard input ends."""
    place = Place(setting.database_url, setting.redis_url, setting.key_prefix, own=None, versions={})
    async with open_truth(place.database_url) as truth, AsyncExitStack() as stack:
        peers: dict[str, Peer] = {}
        for kind in PEERS:
            peer = peers[kind.name] = kind(place, truth)
            await peer.open()
            stack.push_async_callback(peer.aclose)
        _say(b"ready")
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            told = msgspec.json.decode(line, type=Stampede)
            peer, before = peers[told.peer], truth.repository.loads
            await asyncio.sleep(told.begin_at - time.monotonic())
            await asyncio.gather(*(peer.read_protected(told.number) for _ in range(setting.callers)))
            _say(msgspec.json.encode(Called(truth.repository.loads - before, time.monotonic() - told.begin_at)))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    configure_logs("error", "json")  # To standard error: on standard output are answers alone.
    asyncio.run(call(msgspec.json.decode(sys.stdin.buffer.readline(), type=Setting)))
