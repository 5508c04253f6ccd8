"""`emg-sessions demo`: the whole way once, with times to compare and a picture to look at."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from rich.text import Text

from adapters.c3d.synthesis import ghostly_file_name, synthesise
from adapters.entrypoints import plot
from adapters.entrypoints.console import ExitCode, err, out
from adapters.entrypoints.process import process, recordings_in, report
from adapters.entrypoints.program import program
from adapters.settings import Settings
from container import Container, resolve
from domain.ports import AnalyticsAnswer, Freshness
from domain.session import SessionId
from services.therapy_session_processor import Processed

_SYNTHETIC: Final = 3
# Whose sessions were made up can be told at a glance. Recordings of one's own are nobody's until they are uploaded.
_PATIENT: Final = "DEMO"
_PIECE_BYTES: Final = 1 << 20
_MS_SHOWN_MIN: Final = 0.1
_FIRST_SESSION: Final = datetime(2026, 3, 2, 10, 0, 0, 417_000)  # noqa: DTZ001 - recordings name no time zone

Read = Callable[[SessionId], Awaitable[AnalyticsAnswer | None]]


@dataclass(frozen=True, slots=True)
class Timed:
    """Who answered, and how fast."""

    source: str
    median_ms: float


async def command(app: Container, settings: Settings, *, paths: Sequence[Path], reads: int) -> ExitCode:
    """The whole command."""
    with tempfile.TemporaryDirectory(prefix="emg-sessions-demo-") as folder:
        recordings = recordings_in(paths) if paths else await asyncio.to_thread(_make_recordings, Path(folder))
        out.rule("1  Recordings are analysed, once")
        outcomes = await process(app, recordings, patient_code=None if paths else _PATIENT)
        code = report(recordings, outcomes, as_json=False)
        done = [(path, outcome) for path, outcome in zip(recordings, outcomes, strict=True) if isinstance(outcome, Processed)]
        if not done:
            return code
        if not paths and settings.storage != "memory":
            await _keep(app, done)
        out.rule("2  Their analytics are read, many times")
        await _compare(app, settings, [outcome.session_id for _, outcome in done], reads)
        out.rule("3  One of them")
        await _draw(app, *done[0])
    called = escape(program())
    out.print(f"\nRead one again, in a process of its own:  [bold]{called} show {done[0][1].session_id}[/]", soft_wrap=True)
    out.print(f"How the cache does:  [bold]{called} cache stats[/]", soft_wrap=True)
    return code


async def _keep(app: Container, done: Sequence[tuple[Path, Processed]]) -> None:
    """Keeps the recordings beyond their temporary folder, so that the dashboard can show their signals."""
    intake = await resolve(app.recording_intake)
    for path, processed in done:
        await intake.keep(processed.session_id, _pieces(path))


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece


def _make_recordings(folder: Path) -> list[Path]:
    paths = []
    for seed in track(range(_SYNTHETIC), description="making recordings", console=err, transient=True):
        recorded_at = _FIRST_SESSION + timedelta(days=7 * seed, minutes=11 * seed)
        path = folder / ghostly_file_name(recorded_at)
        synthesise(path, seed=seed, duration_s=60.0 + 15.0 * seed, recorded_at=recorded_at)
        paths.append(path)
    return paths


async def _compare(app: Container, settings: Settings, session_ids: Sequence[SessionId], reads: int) -> None:
    stored = await resolve(app.stored)
    repository = await resolve(app.session_analytics)
    # Asked for a FRESH answer, the repository goes to Redis; otherwise it may answer from the process's own copies.
    ways: list[Read] = [stored.get, partial(repository.get, freshness=Freshness.FRESH), repository.get]
    rows = []
    for session_id in track(session_ids, description="reading", console=err, transient=True):
        rows.append((session_id, [await _time(way, session_id, reads) for way in ways]))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("session", no_wrap=True)
    for one in rows[0][1]:
        table.add_column(f"{one.source},\nmedian\nof {reads}", justify="right", no_wrap=True)
    for session_id, timed in rows:
        table.add_row(str(session_id), *(_shown(one.median_ms) for one in timed))
    out.print(table)
    if settings.cache == "none":
        out.print("[dim]The cache is off (CACHE=none), so all three ways are the same.[/]")
    else:
        stored_ms, redis_ms, near_ms = (statistics.median(timed[place].median_ms for _, timed in rows) for place in range(len(ways)))
        out.print(
            f"A read from Redis takes {redis_ms / stored_ms:.0%} of one from {rows[0][1][0].source}, one from the process's own copies "
            f"{near_ms / stored_ms:.1%}; all end in decoded values."
        )


async def _time(read: Read, session_id: SessionId, reads: int) -> Timed:
    times_ms: list[float] = []
    sources: list[str] = []
    for _ in range(reads):
        begin = time.perf_counter()
        answer = await read(session_id)
        times_ms.append((time.perf_counter() - begin) * 1000)
        sources.append("nobody" if answer is None else answer.source)
    # The source that answered most: a heartbeat may lapse in between, and the store then answers for a moment.
    return Timed(statistics.mode(sources), statistics.median(times_ms))


def _shown(time_ms: float) -> str:
    return f"{time_ms:.2f} ms" if time_ms >= _MS_SHOWN_MIN else f"{time_ms * 1000:.1f} µs"


async def _draw(app: Container, path: Path, processed: Processed) -> None:
    channel = max(processed.analytics.channels, key=lambda channel: channel.contractions.count)
    if channel.rms is None:
        out.print(f"{path.name}: {'; '.join(channel.problems)}", markup=False)
        return
    workers = await resolve(app.workers)
    reader = await resolve(app.recording_reader)
    pieces = 2 * max(40, out.width - 24)
    shape = await workers.run(path.name, plot.outline, reader, path, processed.analytics.parameters, channel.name, pieces)
    unit = processed.analytics.recording.amplitude_unit
    out.print(f"{path.name}, channel {channel.name}: {channel.contractions.count} contractions", soft_wrap=True, markup=False)
    picture = plot.draw(channel, shape, unit=unit, width=out.width, colours=out.color_system is not None)
    out.print(Text.from_ansi(picture), soft_wrap=True)
    out.print(plot.legend(channel))
