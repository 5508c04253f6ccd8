"""What is done with recordings, counted, timed and traced: each of these is the port that it stands before, and changes nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import ParamSpec, TypeVar

from domain.analytics import SessionAnalytics
from domain.ports import (
    AnalyticsAnswer,
    DeleteReceipt,
    DocumentAnswer,
    Freshness,
    ProcessingMeter,
    SaveReceipt,
    SessionAnalyticsRepository,
    SessionProcessing,
    Traces,
    Workers,
)
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
    """Times and traces work in processes. The time waiting for a free process is part of it."""

    def __init__(self, inner: Workers, traces: Traces, meter: ProcessingMeter, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._inner = inner
        self._traces = traces
        self._meter = meter
        self._clock = clock

    async def run(self, file_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See the port."""
        begin = self._clock()
        with self._traces.span("analyse recording"):
            answer = await self._inner.run(file_name, function, *args, **kwargs)
        self._meter.analysed(self._clock() - begin)
        return answer


class TracedSessionAnalyticsRepository(SessionAnalyticsRepository):
    """Traces writes. Reads are too many, and too quick, to be told one by one."""

    def __init__(self, inner: SessionAnalyticsRepository, traces: Traces) -> None:
        self._inner = inner
        self._traces = traces

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """See the port."""
        return await self._inner.get(session_id, freshness=freshness, at_least=at_least)

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        """See the port."""
        return await self._inner.get_many(session_ids, freshness=freshness)

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        """See the port."""
        return await self._inner.get_document(session_id, freshness=freshness, at_least=at_least)

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        """See the port."""
        with self._traces.span("save analytics"):
            return await self._inner.save(analytics)

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        """See the port."""
        with self._traces.span("delete analytics"):
            return await self._inner.delete(session_id)
