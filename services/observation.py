"""What is done with recordings, counted and timed: each of these is the port that it stands before, and changes nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from domain.ports import ProcessingMeter, SessionProcessing, Workers
from domain.session import SessionId

P = ParamSpec("P")
T = TypeVar("T")


class ObservedProcessing(SessionProcessing):
    """Counts how attempts at processing a session end."""

    def __init__(self, inner: SessionProcessing, meter: ProcessingMeter) -> None:
        self._inner = inner
        self._meter = meter

    async def process_session(self, session_id: SessionId) -> None:
        """See the port. An attempt that is cancelled has not ended: it is tried again."""
        try:
            await self._inner.process_session(session_id)
        except Exception:
            self._meter.job_ended("failed")
            raise
        self._meter.job_ended("completed")

    async def give_up(self, session_id: SessionId, failure: str) -> None:
        """See the port."""
        await self._inner.give_up(session_id, failure)
        self._meter.job_ended("given_up")


class ObservedWorkers(Workers):
    """Times work in processes. The time waiting for a free process is part of it; work that fails is not."""

    def __init__(self, inner: Workers, meter: ProcessingMeter, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._inner = inner
        self._meter = meter
        self._clock = clock

    async def run(self, file_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See the port."""
        begin = self._clock()
        answer = await self._inner.run(file_name, function, *args, **kwargs)
        self._meter.analysed(self._clock() - begin)
        return answer
