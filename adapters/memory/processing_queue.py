"""The queue of recordings that wait to be processed, within the process."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from domain.errors import StorageUnavailable
from domain.ports import ProcessingQueue, ProcessingWorker, SessionProcessing, SessionRegistry, Submitted
from domain.processing import ProcessingPolicy, TryAgain, attempt
from domain.session import SessionId, SessionState, TherapySession


@dataclass(order=True, slots=True)
class _Job:
    due_s: float
    number: int
    session_id: SessionId = field(compare=False)
    attempts: int = field(compare=False, default=0)


class MemoryProcessingQueue(ProcessingQueue, ProcessingWorker):
    """Jobs in a heap, the one that is due first on top; `jobs_max` at most. They end with the process."""

    def __init__(
        self,
        registry: SessionRegistry,
        policy: ProcessingPolicy | None = None,
        *,
        jobs_max: int = 10_000,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._registry = registry
        self._policy = policy or ProcessingPolicy()
        self._jobs_max = jobs_max
        self._jitter = jitter
        self._jobs: list[_Job] = []
        self._numbers = count()
        self._changed = asyncio.Event()

    async def submit(self, session: TherapySession) -> Submitted:
        """See the port. The registry in memory does not wait either, so nobody sees a session that is registered and not queued."""
        known = await self._registry.find(session.session_id)
        if known is None and session.recording_sha256 is not None:
            known = await self._registry.find_by_recording(session.recording_sha256)
        if known is not None and known.state is not SessionState.FAILED:
            return Submitted(known, new=False)
        if len(self._jobs) >= self._jobs_max:
            raise StorageUnavailable(f"{self._jobs_max} recordings wait to be processed already; try again later")
        registered = replace(known, state=SessionState.RECEIVED, progress=0.0, failure=None) if known is not None else session
        if known is None:
            await self._registry.register(session)
        else:
            await self._registry.note(known.session_id, SessionState.RECEIVED)
        self._put(_Job(asyncio.get_running_loop().time(), next(self._numbers), registered.session_id))
        return Submitted(registered, new=known is None)

    async def depth(self) -> int:
        """See the port."""
        return len(self._jobs)

    async def run(self, processing: SessionProcessing, *, stop: asyncio.Event) -> None:
        """See the port."""
        running: set[asyncio.Task[None]] = set()
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                while len(running) < self._policy.concurrency and (job := self._due()) is not None:
                    running.add(asyncio.create_task(self._work(processing, job)))
                self._changed.clear()
                news = asyncio.create_task(self._changed.wait())
                busy = len(running) >= self._policy.concurrency
                await asyncio.wait(
                    {stopping, news, *running}, timeout=None if busy else self._next_due_in_s(), return_when=asyncio.FIRST_COMPLETED
                )
                news.cancel()
                running = {task for task in running if not task.done()}
            if running:
                await asyncio.wait(running, timeout=self._policy.drain_s)
        finally:
            for task in (stopping, *running):
                task.cancel()
            await asyncio.gather(stopping, *running, return_exceptions=True)

    async def _work(self, processing: SessionProcessing, job: _Job) -> None:
        try:
            outcome = await attempt(processing, job.session_id, earlier=job.attempts, policy=self._policy, jitter=self._jitter())
        except asyncio.CancelledError:
            self._put(job)
            raise
        if isinstance(outcome, TryAgain):
            due_s = asyncio.get_running_loop().time() + outcome.after_s
            self._put(_Job(due_s, next(self._numbers), job.session_id, job.attempts + 1))

    def _put(self, job: _Job) -> None:
        heapq.heappush(self._jobs, job)
        self._changed.set()

    def _due(self) -> _Job | None:
        due = self._next_due_in_s()
        return heapq.heappop(self._jobs) if due is not None and due <= 0 else None

    def _next_due_in_s(self) -> float | None:
        return self._jobs[0].due_s - asyncio.get_running_loop().time() if self._jobs else None
