"""`emg-sessions worker`: processes the recordings that are queued."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

import structlog

from adapters.entrypoints.console import ExitCode, err
from adapters.settings import Settings
from container import Container, resolve
from domain.errors import EmgSessionsError
from services.leftover_uploads import LeftoverUploads

_NICENESS: Final = 5
_TIDY_S: Final = 6 * 3600.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def run_worker(app: Container, stop: asyncio.Event) -> None:
    """Processes what is queued until `stop` is set, and then until what runs has ended, WORKER_DRAIN_S at most.

    For whoever wants a worker in a process of its own or within the server: any number of them share the work. It comes back by itself
    when the database does. Raises StorageError if the database cannot be reached at the start, or its schema is not ready. Cancellation
    ends it at once, and puts back what runs.
    """
    worker = await resolve(app.processing_worker)
    processing, leftovers = await resolve(app.session_processing), await resolve(app.leftover_uploads)
    tidying = asyncio.create_task(_keep_tidy(leftovers), name="leftover uploads")
    try:
        await worker.run(processing, stop=stop)
    finally:
        tidying.cancel()
        await asyncio.gather(tidying, return_exceptions=True)


async def _keep_tidy(leftovers: LeftoverUploads) -> None:
    """Removes leftover uploads, now and every few hours."""
    while True:
        try:
            removed = await leftovers.remove()
            if removed:
                structlog.get_logger("worker").info("leftover_uploads_removed", count=removed)
        except EmgSessionsError as error:
            structlog.get_logger("worker").warning("leftover_uploads_not_removed", error=type(error).__name__)
        await asyncio.sleep(_TIDY_S)


async def command(app: Container, settings: Settings) -> ExitCode:
    """The whole command. The first SIGTERM or SIGINT drains the worker, the second ends it at once; nothing is lost either way."""
    if hasattr(os, "nice"):
        os.nice(_NICENESS)  # Whoever waits for an answer goes first, on machines that serve as well. Analyses give way to this in turn.
    metrics = await resolve(app.metrics)
    if settings.worker_metrics_port:
        await resolve(app.health)  # It brings what the cache counts into the metrics.
        metrics.listen(settings.worker_metrics_port)
    stop = asyncio.Event()
    analyses = await resolve(app.workers)
    # While the worker finds its queue; it says itself what is amiss, if they cannot start, as soon as it needs them.
    starting = asyncio.create_task(analyses.start(), name="analyses")
    working = asyncio.create_task(run_worker(app, stop), name="worker")

    def told() -> None:
        if stop.is_set():
            working.cancel()
        else:
            stop.set()
            err.print(f"[dim]ending what runs, for {settings.worker_drain_s:g} s at most; once more ends it at once[/]")

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, told)
    try:
        err.print(f"[dim]processing what is queued, {settings.worker_concurrency} at a time; Ctrl-C ends it[/]")
        await asyncio.wait({working})
        if working.cancelled():
            return ExitCode.INTERRUPTED
        working.result()  # Raises what ended it.
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        working.cancel()
        await asyncio.gather(working, starting, return_exceptions=True)
    return ExitCode.OK
