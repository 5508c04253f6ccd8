"""A queue with what belongs to it, and a processing that does what a test wants."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from domain.ports import ProcessingQueue, ProcessingWorker, SessionProcessing, SessionRegistry
from domain.processing import ProcessingPolicy
from domain.session import SessionId, SessionState


@dataclass
class Queue:
    """A queue, the registry that it submits to, and workers on it."""

    registry: SessionRegistry
    jobs: ProcessingQueue
    worker: Callable[[ProcessingPolicy], ProcessingWorker]

    @asynccontextmanager
    async def working(self, processing: SessionProcessing, policy: ProcessingPolicy, count: int = 1) -> AsyncIterator[asyncio.Event]:
        """Workers that run meanwhile; they drain at the end, or when the event is set."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self.worker(policy).run(processing, stop=stop)) for _ in range(count)]
        try:
            yield stop
        finally:
            stop.set()
            async with asyncio.timeout(60):
                await asyncio.gather(*tasks)


@dataclass
class Practice(SessionProcessing):
    """Notes what is asked of it. The errors are raised one an attempt, the last of them again and again; `hold` makes sessions last."""

    registry: SessionRegistry
    errors: dict[SessionId, list[Exception | None]] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    attempts: Counter[SessionId] = field(default_factory=Counter)
    ended: Counter[SessionId] = field(default_factory=Counter)
    given_up: dict[SessionId, str] = field(default_factory=dict)
    trouble_giving_up: list[Exception] = field(default_factory=list)
    at_once: int = 0
    at_once_max: int = 0
    running: set[SessionId] = field(default_factory=set)

    async def process_session(self, session_id: SessionId) -> None:
        assert session_id not in self.running, "one session is processed by two"
        self.attempts[session_id] += 1
        self.running.add(session_id)
        self.at_once_max = max(self.at_once_max, len(self.running))
        try:
            await asyncio.sleep(0)
            if self.hold is not None:
                await self.hold.wait()
            errors = self.errors.get(session_id, [])
            error = errors[min(self.attempts[session_id], len(errors)) - 1] if errors else None
            if error is not None:
                raise error
            self.ended[session_id] += 1
        finally:
            self.running.remove(session_id)

    async def give_up(self, session_id: SessionId, failure: str) -> None:
        if self.trouble_giving_up:
            raise self.trouble_giving_up.pop()
        self.given_up[session_id] = failure
        await self.registry.note(session_id, SessionState.FAILED, failure=failure)
