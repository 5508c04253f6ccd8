"""The queue of recordings that wait to be processed, and its workers, within the process."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from domain.errors import StorageUnavailable
from domain.mvc import GivenMvc
from domain.ports import ProcessingQueue, ProcessingWorker, SessionProcessing, SessionRegistry, Submitted
from domain.processing import ProcessingPolicy, TryAgain, attempt
from domain.session import SessionId, SessionState, TherapySession


@dataclass(order=True, slots=True)
class _Job:
    due_s: float
    number: int
    session_id: SessionId = field(compare=False)
    attempts: int = field(compare=False)


class MemoryProcessingQueue(ProcessingQueue):
    """Jobs in a heap, the one that is due first on top; `jobs_max` at most. They end with the process."""

    def __init__(self, registry: SessionRegistry, *, jobs_max: int = 10_000) -> None:
        self._registry = registry
        self._jobs_max = jobs_max
        self._jobs: list[_Job] = []
        self._numbers = count()
        self.changed = asyncio.Event()  # Set at the next change, and replaced by another.

    async def submit(self, session: TherapySession) -> Submitted:
        """See the port. The registry in memory does not wait either, so nobody sees a session that is registered and not queued."""
        known = await self._registry.find(session.session_id)
        if known is None and session.recording_sha256 is not None:
            known = await self._registry.find_by_recording(session.recording_sha256)
        if known is not None and known.state is not SessionState.FAILED:
            return Submitted(known, new=False)
        self._check_room()
        if known is None:
            registered = await self._registry.register(session)
        else:
            await self._registry.note(known.session_id, SessionState.RECEIVED)
            registered = replace(known, state=SessionState.RECEIVED, progress=0.0, failure=None)
        self.put(registered.session_id)
        return Submitted(registered, new=known is None)

    async def remeasure(self, session_id: SessionId, mvc: GivenMvc) -> TherapySession | None:
        """See the port."""
        known = await self._registry.find(session_id)
        if known is None or known.mvc == mvc:
            return known
        self._check_room()
        session = await self._registry.remeasure(session_id, mvc)
        if session is not None and session.state is not SessionState.DUPLICATE:
            await self._registry.note(session_id, SessionState.RECEIVED)
            session = replace(session, state=SessionState.RECEIVED)
        self.put(session_id)
        return session

    async def depth(self) -> int:
        """See the port."""
        return len(self._jobs)

    def put(self, session_id: SessionId, *, after_s: float = 0.0, attempts: int = 0) -> None:
        """Queues a session, or puts it back after so many attempts."""
        heapq.heappush(self._jobs, _Job(_now_s() + after_s, next(self._numbers), session_id, attempts))
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _check_room(self) -> None:
        if len(self._jobs) >= self._jobs_max:
            raise StorageUnavailable(f"{self._jobs_max} recordings wait to be processed already; try again later")

    def due(self) -> tuple[SessionId, int] | None:
        """Takes the session that is due first, and how often it was tried; None if none is due."""
        if (due_in_s := self.due_in_s()) is None or due_in_s > 0:
            return None
        job = heapq.heappop(self._jobs)
        return job.session_id, job.attempts

    def due_in_s(self) -> float | None:
        """When the first session is due; None if none waits."""
        return self._jobs[0].due_s - _now_s() if self._jobs else None


class MemoryProcessingWorker(ProcessingWorker):
    """Takes sessions off a queue in memory."""

    def __init__(self, queue: MemoryProcessingQueue, policy: ProcessingPolicy, *, jitter: Callable[[], float] = random.random) -> None:
        self._queue = queue
        self._policy = policy
        self._jitter = jitter

    async def run(self, processing: SessionProcessing, *, stop: asyncio.Event) -> None:
        """See the port."""
        running: set[asyncio.Task[None]] = set()
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                changed = asyncio.create_task(self._queue.changed.wait())
                while len(running) < self._policy.concurrency and (job := self._queue.due()) is not None:
                    running.add(asyncio.create_task(self._work(processing, *job)))
                busy = len(running) >= self._policy.concurrency
                due_in_s = None if busy else self._queue.due_in_s()
                try:
                    await asyncio.wait({stopping, changed, *running}, timeout=due_in_s, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                running = {task for task in running if not task.done()}
            if running:
                await asyncio.wait(running, timeout=self._policy.drain_s)
        finally:
            for task in (stopping, *running):
                task.cancel()
            await asyncio.gather(stopping, *running, return_exceptions=True)

    async def _work(self, processing: SessionProcessing, session_id: SessionId, attempts: int) -> None:
        try:
            outcome = await attempt(processing, session_id, earlier=attempts, policy=self._policy, jitter=self._jitter())
        except asyncio.CancelledError:
            self._queue.put(session_id, attempts=attempts)
            raise
        if isinstance(outcome, TryAgain):
            self._queue.put(session_id, after_s=outcome.after_s, attempts=attempts + 1)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
