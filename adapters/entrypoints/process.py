"""`emg-sessions process`: recordings in, session analytics out."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from adapters import document
from adapters.entrypoints.console import ExitCode, err, out
from adapters.entrypoints.tables import ESTIMATED_NOTE, any_estimated, criteria_of_good, percent
from adapters.settings import Settings
from container import Container, resolve
from domain.errors import AnalysisFailed, InvalidParameters, InvalidRecording, InvalidSettings, OtherPatient
from domain.mvc import GivenMvc
from services.therapy_session_processor import Processed, TherapySessionProcessor

Outcome = Processed | InvalidRecording | AnalysisFailed | InvalidParameters | OtherPatient


def recordings_in(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the C3D files in the folders named, each once, in order. Raises InvalidSettings for what is not there."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found |= dict.fromkeys(sorted(file for file in path.rglob("*") if file.suffix.lower() == ".c3d" and file.is_file()))
        elif path.exists():
            found[path] = None
        else:
            raise InvalidSettings(f"there is no file or folder {str(path)!r}")
    if not found:
        raise InvalidSettings(f"no .c3d file in {', '.join(repr(str(path)) for path in paths)}")
    return list(found)


def without_channel(settings: Settings, mvc: GivenMvc | None, outcomes: Sequence[Outcome]) -> list[str]:
    """The channels for which an MVC was given and that no recording has: typing errors, mostly."""
    analysed = [outcome.analytics for outcome in outcomes if isinstance(outcome, Processed)]
    there = {channel.name for analytics in analysed for channel in analytics.channels}
    given = dict.fromkeys(name for name, _ in (*settings.mvc_channels, *(mvc.by_channel if mvc is not None else ())))
    return [name for name in given if analysed and name not in there]


async def process(app: Container, paths: Sequence[Path], mvc: GivenMvc | None = None, *, patient_code: str | None = None) -> list[Outcome]:
    """Processes recordings, several at once, with a progress bar on standard error; what became of each, in order.

    One that fails does not stop the rest. A storage that fails does: nothing could be kept.
    """
    processor = await resolve(app.therapy_session_processor)
    workers = await resolve(app.workers)
    # A few more than there are processes, so that no process waits for the storage.
    places = asyncio.Semaphore(workers.parallel + 2)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("analysing", total=len(paths))

        async def one(path: Path) -> Outcome:
            async with places:
                outcome = await _outcome(processor, path, mvc, patient_code)
            progress.advance(bar)
            return outcome

        return await _all_or_first_failure([one(path) for path in paths])


async def _all_or_first_failure(work: Sequence[Coroutine[Any, Any, Outcome]]) -> list[Outcome]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _outcome(processor: TherapySessionProcessor, path: Path, mvc: GivenMvc | None, patient_code: str | None) -> Outcome:
    try:
        return await processor.process(path, mvc=mvc, patient_code=patient_code)
    except (InvalidRecording, AnalysisFailed, InvalidParameters, OtherPatient) as error:
        return error


def report(paths: Sequence[Path], outcomes: Sequence[Outcome], *, as_json: bool) -> ExitCode:
    """Writes what became of the recordings, and says how the command ends."""
    for path, outcome in zip(paths, outcomes, strict=True):
        if isinstance(outcome, Exception):
            err.print(f"[red]failed:[/] {escape(_reason(path, outcome))}", soft_wrap=True)
    if as_json:
        for path, outcome in zip(paths, outcomes, strict=True):
            if isinstance(outcome, Processed):
                sys.stdout.buffer.write(_with_path(path, document.encode(outcome.analytics)) + b"\n")
        sys.stdout.buffer.flush()
    else:
        out.print(_table(paths, outcomes))
        analysed = [outcome.analytics for outcome in outcomes if isinstance(outcome, Processed)]
        for criteria in dict.fromkeys(criteria_of_good(analytics.parameters) for analytics in analysed):
            out.print(criteria)
        if any(any_estimated(analytics) for analytics in analysed):
            out.print(f"[dim]{ESTIMATED_NOTE}[/]")
    return ExitCode.SOME_FAILED if any(isinstance(outcome, Exception) for outcome in outcomes) else ExitCode.OK


async def command(
    app: Container, settings: Settings, *, paths: Sequence[Path], as_json: bool, mvc: GivenMvc | None, patient_code: str | None
) -> ExitCode:
    """The whole command."""
    recordings = recordings_in(paths)
    outcomes = await process(app, recordings, mvc, patient_code=patient_code)
    for name in without_channel(settings, mvc, outcomes):
        err.print(f"[yellow]an MVC was given for the channel {escape(repr(name))}, which no recording has[/]", soft_wrap=True)
    return report(recordings, outcomes, as_json=as_json)


def _with_path(path: Path, encoded: bytes) -> bytes:
    """The document, and before all else the file as it was given: a copy has the name in the document that its bytes had first."""
    given = os.fsencode(path).decode(errors="backslashreplace")
    return b'{"path":' + msgspec.json.encode(given) + b"," + encoded[1:]


def _table(paths: Sequence[Path], outcomes: Sequence[Outcome]) -> Table:
    # Narrow enough for 80 columns: the session's id stands below the file's name.
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("recording\nsession", overflow="fold", min_width=38)
    for heading in ("seconds", "good of\nall", "compliance,\nmean over\nchannels"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for path, outcome in zip(paths, outcomes, strict=True):
        if isinstance(outcome, Processed):
            analytics = outcome.analytics
            good = sum(channel.contractions.good for channel in analytics.channels)
            count = sum(channel.contractions.count for channel in analytics.channels)
            table.add_row(
                f"{escape(path.name)}\n[dim]{outcome.session_id}[/]",
                f"{analytics.recording.duration_s:.1f}",
                f"{good} of {count}",
                percent(analytics.summary.overall_compliance) + ("\n(estimated)" if any_estimated(analytics) else ""),
                f"{'[green]analysed[/]' if outcome.new else 'known'}\nv{outcome.version}",
            )
        else:
            table.add_row(escape(path.name), "", "", "", "[red]failed[/]")
    return table


def _reason(path: Path, error: Exception) -> str:
    text = str(error)
    return text if text.startswith(path.name) else f"{path.name}: {text}"
