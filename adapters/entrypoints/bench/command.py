"""`emg-sessions bench`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from adapters.entrypoints.bench import method
from adapters.entrypoints.bench.figures import Configured, Findings, Report, to_json
from adapters.entrypoints.bench.machine import library_versions, this_machine
from adapters.entrypoints.bench.recorded import documents_of
from adapters.entrypoints.bench.servers import open_servers
from adapters.entrypoints.bench.stage import Stage, open_truth
from adapters.entrypoints.bench.tables import show
from adapters.entrypoints.console import ExitCode, err, fail
from adapters.settings import Settings
from container import Container
from domain.errors import InvalidSettings

if TYPE_CHECKING:
    from adapters.entrypoints.bench.stage import Work

_EXTRA: Final = {"aiocache", "cashews", "dogpile", "fastapi_cache", "glide", "matplotlib"}


async def command(
    _app: Container,
    _settings: Settings,
    *,
    quick: bool,
    only: Sequence[str],
    as_json: bool,
    recording: Path | None,
    output: Path | None,
    database_url: str | None,
    redis_url: str | None,
) -> ExitCode:
    """The whole command."""
    with extra_needed():
        # Before anything is measured: whoever lacks it should not wait for that.
        from adapters.entrypoints.bench.catalogue import WORKS  # noqa: PLC0415 - of an optional extra
        from adapters.entrypoints.bench.output import write  # noqa: PLC0415
    works = chosen(WORKS, only)
    task, terminated = asyncio.current_task(), False

    def terminate() -> None:
        # As Ctrl-C does: what was started ends, and what was made on given servers is removed.
        nonlocal terminated
        terminated = True
        if task is not None:
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        report = await _measured(works, method.QUICK if quick else method.FULL, recording, database_url, redis_url)
    except asyncio.CancelledError:
        if terminated:
            fail("terminated", ExitCode.INTERRUPTED)
        raise
    if output is not None:
        await asyncio.to_thread(write, report, output)
    if as_json:
        sys.stdout.buffer.write(to_json(report) + b"\n")
        sys.stdout.buffer.flush()
    else:
        show(report)
    return ExitCode.OK


async def _measured(
    works: Sequence[Work], pace: method.Pace, recording: Path | None, database_url: str | None, redis_url: str | None
) -> Report:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        return await measure(works, pace, recording=recording, database_url=database_url, redis_url=redis_url, bar=bar)


@contextmanager
def extra_needed() -> Iterator[None]:
    """Around imports: what is missing of the extra is told as InvalidSettings, with the way to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _EXTRA:
            raise InvalidSettings(f"the bench needs {error.name}, which is not installed: pip install 'emg-sessions[bench]'") from None
        raise


def chosen(works: Sequence[Work], only: Sequence[str]) -> Sequence[Work]:
    """Those that were asked for, in their order; all, if none was. Raises InvalidSettings for a name that is none."""
    names = [work.name for work in works]
    for name in only:
        if name not in names:
            raise InvalidSettings(f"--only: there is no work {name!r}; there are {', '.join(names)}")
    return [work for work in works if not only or work.name in only]


async def measure(
    works: Sequence[Work],
    pace: method.Pace,
    *,
    recording: Path | None,
    database_url: str | None,
    redis_url: str | None,
    bar: Progress,
) -> Report:
    """Runs the works one after another, and puts together what they found."""
    task = bar.add_task("servers and documents", total=sum(work.weight for work in works))
    documents = await asyncio.to_thread(documents_of, recording)
    began_at = datetime.now(UTC)
    async with open_servers(database_url, redis_url) as place, open_truth(place.database_url) as truth:
        stage = Stage(place, truth, documents, pace)
        found: list[Findings] = []
        done = 0.0
        for number, work in enumerate(works, start=1):
            if not bar.console.is_terminal:  # A log shows no bar, and half an hour without a word is long.
                bar.console.print(f"{number} of {len(works)}: {work.title}")
            found.append(await work.run(replace(stage, progress=_Told(bar, task, work, done))))
            done += work.weight
    return Report(
        began_at,
        pace.name,
        this_machine(),
        place.versions | library_versions(),
        documents.facts,
        tuple(table for each in found for table in each.tables),
        tuple(curves for each in found for curves in each.curves),
        tuple(asked for each in found for asked in each.asked),
        _once(tuple(peer for each in found for peer in each.peers)),
    )


def _once(peers: Sequence[Configured]) -> tuple[Configured, ...]:
    return tuple(dict.fromkeys(peers))


class _Told(method.Progress):
    """Moves the bar as one work goes on."""

    def __init__(self, bar: Progress, task: TaskID, work: Work, begin: float) -> None:
        self._bar, self._task, self._work, self._begin = bar, task, work, begin

    def at(self, share: float, what: str) -> None:
        """See method.Progress."""
        self._bar.update(self._task, completed=self._begin + share * self._work.weight, description=f"{self._work.title}: {what}")
