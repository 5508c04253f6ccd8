"""Worker processes, so that an analysis never holds up the event loop, and a recording that crashes or hangs its reader fails alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Final, ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

from domain.errors import AnalysisFailed
from domain.ports import Workers

_NICENESS: Final = 10
# What an analysis imports, at its beginning or at its first use.
_PRELOADED: Final = ("domain.emg.analysis", "scipy.signal", "services.therapy_session_processor", "adapters.c3d.reader", "ezc3d")

P = ParamSpec("P")
T = TypeVar("T")


class ProcessWorkers(Workers):
    """A pool of processes that start at the first work, or when they are told to. `processes` 0 means one per usable processor."""

    def __init__(self, *, processes: int, timeout_s: float) -> None:
        self._processes = processes or _usable_processors()
        self._timeout_s = timeout_s
        self._pool: ProcessPool | None = None
        self._starting = asyncio.Lock()

    @property
    def parallel(self) -> int:
        """How many functions run at once; more wait."""
        return self._processes

    async def start(self) -> None:
        """Starts the processes ahead of the first work, which would wait for them for a second or two."""
        await self._started()

    async def run(self, file_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See the port."""
        pool = await self._started()
        # The time limit counts from when the function starts, not from when it begins to wait for a process.
        future = pool.schedule(function, args=args, kwargs=kwargs, timeout=self._timeout_s)
        try:
            answer: T = await asyncio.wrap_future(future)
        except ProcessExpired as error:
            raise AnalysisFailed(file_name, f"its process died (exit code {error.exitcode}); the file may be damaged") from error
        except FutureTimeoutError as error:
            raise AnalysisFailed(file_name, f"the analysis did not finish within ANALYSIS_TIMEOUT_S = {self._timeout_s:g}") from error
        return answer

    async def _started(self) -> ProcessPool:
        async with self._starting:
            if self._pool is None:
                # Starting the first process takes a second, and would stall the loop for as long.
                self._pool = await asyncio.to_thread(self._started_pool)
            return self._pool

    def _started_pool(self) -> ProcessPool:
        with _deaf_children():
            pool = ProcessPool(max_workers=self._processes, context=_context(), initializer=_behave)
            pool.schedule(_nothing)  # Pebble starts its processes at the first work, with threads that start those to come.
        return pool

    async def aclose(self) -> None:
        """Ends the processes, and with them what still runs."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]  # pebble types most of itself, not this
            await asyncio.to_thread(pool.join)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that this thread starts, and theirs in turn, never hear SIGTERM and SIGINT.

    Terminals and some supervisors (systemd) send those to every process of a service, and the parent alone decides what becomes of running
    work. A mask is inherited by whatever is started, the fork server included, which no initializer reaches.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # Which the fork server would do first, and which ends by taking these signals off the mask.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> Any:
    # Never fork: the parent has threads and an event loop. A fork server imports once and forks clean children.
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = _ForkServer()
        context.set_forkserver_preload(list(_PRELOADED))
        return context
    return multiprocessing.get_context("spawn")


class _Analysis(ForkServerProcess):
    """A process that is deaf to SIGTERM, and holds nothing that it would have to put in order."""

    def terminate(self) -> None:
        self.kill()


class _ForkServer(ForkServerContext):
    """The start method, with such processes."""

    Process = _Analysis


def _behave() -> None:
    # An analysis takes a second more or less; whoever waits for an answer on the same processors does not.
    if hasattr(os, "nice"):
        os.nice(_NICENESS)


def _nothing() -> None:
    pass


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
