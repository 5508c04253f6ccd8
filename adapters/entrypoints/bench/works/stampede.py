"""Four processes, fifty callers in each, one session that nobody holds: how often is it loaded, and when do all have it?"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from adapters.entrypoints.bench.documents import of_session
from adapters.entrypoints.bench.figures import Findings, Row, Spread, Table
from adapters.entrypoints.bench.stage import Stage
from adapters.entrypoints.bench.works.callers import PEERS, Called, Setting, Stampede

PROCESSES: Final = 4
CALLERS: Final = 50
_FIRST: Final = 5_000
_HEAD_START_S: Final = 0.03
_START_S: Final = 60.0
_ANSWER_S: Final = 30.0
_NOTES: Final = (
    f"{PROCESSES} processes with {CALLERS} callers each ask at one moment for a session that no cache holds. Each peer with the protection"
    " that its documentation offers; redis-py and fastapi-cache2 offer none.",
)


async def stampede(stage: Stage, processes_count: int = PROCESSES) -> Findings:
    """As many stampedes of each peer as there are rounds, in turn."""
    stage = stage.with_prefix("stampede")
    loads: dict[str, list[float]] = {kind.name: [] for kind in PEERS}
    took_ms: dict[str, list[float]] = {kind.name: [] for kind in PEERS}
    rounds = stage.pace.many_rounds
    sessions = range(_FIRST, _FIRST + rounds + 1)
    await stage.truth.fill(of_session(stage.documents.recorded, 0), sessions)
    async with _processes(stage, processes_count) as processes:
        for done, number in enumerate(sessions):
            stage.progress.at(0.4 + 0.6 * done / len(sessions), f"round {done} of {rounds}" if done else "warming up")
            for place in range(len(PEERS)):
                kind = PEERS[(place + done) % len(PEERS)]
                answers = await _stampede(processes, kind.name, number)
                if done:  # The first is the warm-up: connections, scripts.
                    loads[kind.name].append(sum(answer.loads for answer in answers))
                    took_ms[kind.name].append(max(answer.took_s for answer in answers) * 1000)
    return Findings(
        tables=(
            _table("stampede_loads", "A stampede: loads from PostgreSQL", "loads", loads, _NOTES),
            _table("stampede_time", f"A stampede: until all {PROCESSES * CALLERS} callers have it", "ms", took_ms, ()),
        ),
        peers=tuple(kind.configured() for kind in PEERS),
    )


def _table(name: str, title: str, unit: str, found: dict[str, list[float]], notes: Sequence[str]) -> Table:
    rows = tuple(Row(way, Spread.of(values)) for way, values in found.items())
    return Table(name, title, unit, less_is_better=True, reference=None, rows=rows, notes=tuple(notes))


async def _stampede(processes: Sequence[asyncio.subprocess.Process], peer: str, number: int) -> list[Called]:
    """What each process says of one stampede. All begin at one moment of the clock that they share."""
    order = msgspec.json.encode(Stampede(peer, number, begin_at=time.monotonic() + _HEAD_START_S)) + b"\n"
    for process in processes:
        assert process.stdin is not None  # noqa: S101 - a pipe
        process.stdin.write(order)
    async with asyncio.timeout(_ANSWER_S):
        return [msgspec.json.decode(await _line(process), type=Called) for process in processes]


@asynccontextmanager
async def _processes(stage: Stage, count: int) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Processes of callers (callers.py), ready to be told to call; they end with the context."""
    place = stage.place
    setting = msgspec.json.encode(Setting(place.database_url, place.redis_url, place.key_prefix, CALLERS)) + b"\n"
    processes: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(count):
            command = (sys.executable, "-m", "adapters.entrypoints.bench.works.callers")
            processes.append(await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE))
        async with asyncio.timeout(_START_S):
            for place_, process in enumerate(processes):
                stage.progress.at(0.1 * place_, "starting processes")
                assert process.stdin is not None  # noqa: S101 - a pipe
                process.stdin.write(setting)  # On a pipe, since addresses may hold passwords.
            for process in processes:
                await _line(process)
        yield processes
    finally:
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()  # Which ends it.
        for process in processes:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_S):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - a pipe
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a process of callers ended; what it said stands above")
    return line
