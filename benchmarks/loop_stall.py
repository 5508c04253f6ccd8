"""Measures how long the event loop stands still while recordings are processed.

    python benchmarks/loop_stall.py [--seconds 175] [--recordings 2]

A ticker sleeps a millisecond at a time; how much later than that it wakes is how long nobody else was served. With STORAGE=memory and
CACHE=none: it is the processing that is measured, not the servers.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from adapters.c3d.synthesis import synthesise
from adapters.settings import load_settings
from container import resolve, running
from services.therapy_session_processor import TherapySessionProcessor

_TICK_S = 0.001


async def tick(stalls_s: list[float]) -> None:
    """Notes every delay until it is cancelled."""
    while True:
        begin = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        stalls_s.append(time.perf_counter() - begin - _TICK_S)


async def measure(paths: list[Path]) -> tuple[list[float], float]:
    """The delays while all recordings are processed at once, and how long that took."""
    stalls_s: list[float] = []
    async with running(load_settings(storage="memory", cache="none")) as app:
        processor: TherapySessionProcessor = await resolve(app.therapy_session_processor)
        ticking = asyncio.create_task(tick(stalls_s))
        begin = time.perf_counter()
        await asyncio.gather(*(processor.process(path) for path in paths))
        took_s = time.perf_counter() - begin
        ticking.cancel()
        await asyncio.wait([ticking])
    return stalls_s, took_s


def main() -> None:
    """Makes recordings, processes them, prints the delays."""
    parser = argparse.ArgumentParser(description="How long does the event loop stand still while recordings are processed?")
    parser.add_argument("--seconds", type=float, default=175.0, help="length of each recording (default: %(default)s)")
    parser.add_argument("--recordings", type=int, default=2, help="how many at once (default: %(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [synthesise(Path(folder) / f"{seed}.c3d", seed=seed, duration_s=chosen.seconds).path for seed in range(chosen.recordings)]
        stalls_s, took_s = asyncio.run(measure(paths))
    stalls_ms = sorted(1000 * stall_s for stall_s in stalls_s)
    print(f"{chosen.recordings} recordings of {chosen.seconds:g} s in {took_s:.2f} s; {len(stalls_ms)} ticks")
    for name, share in (("median", 0.5), ("p99", 0.99), ("longest", 1.0)):
        print(f"{name:>8}: {stalls_ms[min(len(stalls_ms) - 1, int(share * len(stalls_ms)))]:7.2f} ms")


if __name__ == "__main__":
    main()
