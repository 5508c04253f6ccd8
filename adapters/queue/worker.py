"""The workers of the queue: procrastinate's, bounded, fenced and restarted for as long as they are wanted."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision, builtin_tasks, jobs
from procrastinate.worker import Worker

from adapters.ending import end
from adapters.queue import schema
from adapters.queue.connections import ERRORS, QueueConnections
from adapters.queue.fencing import FencedJobManager
from adapters.queue.jobs import QUEUE, TASK
from domain.ports import ProcessingWorker, SessionProcessing, Traces
from domain.processing import Done, GivenUp, Outcome, ProcessingPolicy, TryAgain, attempt
from domain.session import SessionId
from domain.traces import NoTraces

_HOUSEKEEPING: Final = "housekeeping"
_RESTART_S_MAX: Final = 30.0
_CANCELLATIONS_MAX: Final = 3
_POLL_S: Final = 1.0  # New jobs are told; those that are due again, after a failed attempt, are looked for.

_log = structlog.get_logger(__name__)


class _JobFailed(Exception):
    """Tells procrastinate that a job failed for good: it is kept as failed."""


class _JobTriedAgain(Exception):
    """Tells procrastinate that a job failed, and when to try it again."""

    def __init__(self, after_s: float) -> None:
        super().__init__(after_s)
        self.after_s = after_s


class _RetryStrategy(BaseRetryStrategy):
    """Everything was decided before: this hands it on. A job that was cancelled, because its worker stops, is tried again at once."""

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> RetryDecision | None:  # noqa: ARG002
        """See procrastinate."""
        match exception:
            case _JobTriedAgain(after_s=after_s):
                return RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=after_s))
            case asyncio.CancelledError():
                return RetryDecision(retry_at=datetime.now(UTC))
            case _:
                return None


class ProcrastinateWorker(ProcessingWorker):
    """Processes sessions with procrastinate.

    A worker gives a sign of life three times within `stalled_s`. Who gives none for so long counts as dead, and every worker looks as
    often for jobs of the dead and puts them back: so a session whose worker is killed is tried again within 4/3 of `stalled_s`. Finished
    jobs, the failed ones among them, are remembered for `kept_hours`.
    """

    def __init__(
        self,
        connections: QueueConnections,
        policy: ProcessingPolicy,
        *,
        stalled_s: float,
        kept_hours: int,
        traces: Traces | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connections = connections
        self._policy = policy
        self._stalled_s = stalled_s
        self._kept_hours = kept_hours
        self._traces = traces or NoTraces()
        self._jitter = jitter

    async def run(self, processing: SessionProcessing, *, stop: asyncio.Event) -> None:
        """See the port. If the database goes away, the worker comes back with it. Raises StorageNotReady if the queue's tables are missing
        or old."""
        for library in ("procrastinate", "psycopg"):
            # They write to standard error if nobody listens, tracebacks included; what matters is logged here, with ids only.
            logging.getLogger(library).addHandler(logging.NullHandler())
        await schema.check(self._connections)
        restarts = 0
        while not stop.is_set():
            started_s = time.monotonic()
            try:
                await self._run_until_lost(processing, stop)
            except ERRORS as error:
                _log.warning("worker_lost_its_queue", error=type(error).__name__)
            if stop.is_set():
                return
            restarts = restarts + 1 if time.monotonic() - started_s < self._stalled_s else 1
            wait_s = min(_RESTART_S_MAX, 0.5 * 2.0 ** min(restarts, 10)) * (0.5 + self._jitter() / 2)
            try:
                await asyncio.wait_for(stop.wait(), wait_s)
            except TimeoutError:
                _log.info("worker_restarts", after_s=round(wait_s, 1))

    async def _run_until_lost(self, processing: SessionProcessing, stop: asyncio.Event) -> None:
        """One life of procrastinate's worker: until `stop`, or until it loses the database or counts as dead."""
        running: dict[int, asyncio.Task[None]] = {}
        connector = PsycopgConnector(
            conninfo=self._connections.conninfo(),
            kwargs=self._connections.options(),
            min_size=1,
            max_size=self._policy.concurrency + 2,
            timeout=self._connections.pool_wait_s,
        )
        app = App(connector=connector)
        app.job_manager = manager = FencedJobManager(connector)
        self._define_tasks(app, processing, running)
        try:
            async with asyncio.timeout(self._connections.connect_s + self._connections.pool_wait_s):
                await app.open_async()
            await self._live(app, manager, running, stop)
        finally:
            await app.close_async()

    async def _live(self, app: App, manager: FencedJobManager, running: dict[int, asyncio.Task[None]], stop: asyncio.Event) -> None:
        worker = Worker(
            app,
            queues=[QUEUE, _HOUSEKEEPING],
            concurrency=self._policy.concurrency,
            shutdown_graceful_timeout=self._policy.drain_s,
            install_signal_handlers=False,
            update_heartbeat_interval=self._stalled_s / 3,
            stalled_worker_timeout=self._stalled_s,
            fetch_job_polling_interval=_POLL_S,
        )
        life = asyncio.create_task(_lived(worker), name="queue worker")
        watch = asyncio.create_task(self._look_after_jobs(worker, manager, running), name="queue watch")
        stopping = asyncio.create_task(stop.wait(), name="queue stop")
        try:
            await asyncio.wait({life, watch, stopping}, return_when=asyncio.FIRST_COMPLETED)
            _stop(worker)
            await self._ended(life, within_s=self._policy.drain_s + self._database_s)
        except asyncio.CancelledError:
            # No more patience: what runs ends now, and is put back.
            _stop(worker)
            for task in running.values():
                task.cancel()
            with suppress(*ERRORS):
                await self._ended(life, within_s=self._database_s)
            raise
        finally:
            await end(watch)
            await end(stopping)

    @property
    def _database_s(self) -> float:
        """How long the last words to the database may take."""
        return self._connections.statement_s + self._connections.pool_wait_s

    async def _ended(self, life: asyncio.Task[None], *, within_s: float) -> None:
        """Waits for the end, and raises what it was. A database that does not answer must not hold it up: then others will see to the jobs.

        Being cancelled, procrastinate's worker first drains once more; it takes two or three times.
        """
        if not (await asyncio.wait({life}, timeout=within_s))[0]:
            _log.warning("worker_does_not_end")
            for _ in range(_CANCELLATIONS_MAX):
                life.cancel()
                if (await asyncio.wait({life}, timeout=1.0))[0]:
                    break
            raise TimeoutError
        life.result()

    def _define_tasks(self, app: App, processing: SessionProcessing, running: dict[int, asyncio.Task[None]]) -> None:
        @app.task(name=TASK, queue=QUEUE, retry=_RetryStrategy(), pass_context=True)
        async def process_session(context: JobContext, session_id: str, trace: str | None = None) -> None:
            task, job_id = asyncio.current_task(), context.job.id
            assert task is not None  # noqa: S101 - this runs in one
            assert job_id is not None  # noqa: S101 - it has been fetched
            running[job_id] = task
            try:
                with self._traces.span("process session", within=trace, attempt=context.job.attempts + 1):
                    await self._process(processing, SessionId(UUID(session_id)), context.job.attempts)
            finally:
                del running[job_id]

        # A periodic task is also what keeps procrastinate watching its heartbeat: without any, it stops to look after its side tasks.
        @app.periodic(cron="23 * * * *")
        @app.task(name="remove_old_jobs", queue=_HOUSEKEEPING, queueing_lock="remove_old_jobs", pass_context=True)
        async def remove_old_jobs(context: JobContext, timestamp: int) -> None:  # noqa: ARG001 - procrastinate passes it
            await builtin_tasks.remove_old_jobs(
                context, max_hours=self._kept_hours, remove_failed=True, remove_cancelled=True, remove_aborted=True
            )

    async def _process(self, processing: SessionProcessing, session_id: SessionId, earlier: int) -> None:
        started_s = time.monotonic()
        outcome = await attempt(processing, session_id, earlier=earlier, policy=self._policy, jitter=self._jitter())
        _log_outcome(outcome, session_id, earlier + 1, time.monotonic() - started_s)
        match outcome:
            case TryAgain(after_s=after_s):
                raise _JobTriedAgain(after_s)
            case GivenUp():
                raise _JobFailed
            case Done():
                return

    async def _look_after_jobs(self, worker: Worker, manager: FencedJobManager, running: dict[int, asyncio.Task[None]]) -> None:
        """Rescues jobs, this worker's own among them; ends if this worker counts as dead itself, for it was frozen: then its jobs are
        others' already."""
        while True:
            try:
                await manager.rescue_stalled(self._stalled_s)
                if worker.worker_id is not None and not await manager.release_unowned(worker.worker_id, set(running)):
                    _log.warning("worker_was_given_up", jobs=len(running))
                    for task in running.values():
                        task.cancel()
                    return
            except ERRORS as error:
                _log.warning("jobs_could_not_be_looked_after", error=type(error).__name__)
            await asyncio.sleep(self._stalled_s / 3)


async def _lived(worker: Worker) -> None:
    await worker.run()  # type: ignore[no-untyped-call]  # procrastinate types most of itself, not these two


def _stop(worker: Worker) -> None:
    worker.stop()  # type: ignore[no-untyped-call]


def _log_outcome(outcome: Outcome, session_id: SessionId, attempts: int, duration_s: float) -> None:
    log = _log.bind(session_id=str(session_id), attempt=attempts, duration_s=round(duration_s, 3))
    match outcome:
        case Done():
            log.info("session_processed")
        case TryAgain(after_s=after_s, error=error):
            log.warning("session_will_be_tried_again", after_s=round(after_s, 1), error=type(error).__name__)
            log.debug("session_attempt_failed", exc_info=error)
        case GivenUp(error=error):
            log.error("session_given_up", error=type(error).__name__ if error is not None else "WorkerDied")
            if error is not None:
                log.debug("session_attempt_failed", exc_info=error)
