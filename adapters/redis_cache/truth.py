"""The inner repository behind its bounds: so many reads at once, and a bounded wait for a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from adapters.redis_cache.flights import Flights
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.stats import CacheStats
from domain.errors import StorageError, StorageUnavailable
from domain.ports import AnalyticsAnswer, DocumentAnswer, Freshness, SessionAnalyticsRepository, VersionAnswer
from domain.session import SessionId


class Truth:
    """Asks the inner repository. When Redis is away everybody comes here: this keeps them from drowning the database."""

    def __init__(self, inner: SessionAnalyticsRepository, policy: CachePolicy, stats: CacheStats) -> None:
        self._inner = inner
        self._stats = stats
        self._places = asyncio.Semaphore(policy.inner_reads_max)
        self._wait_s = policy.inner_wait_s
        self._shared: Flights[tuple[SessionId, int], AnalyticsAnswer | None] = Flights(policy.heartbeat_s)

    async def get(self, session_id: SessionId) -> AnalyticsAnswer | None:
        """A read that begins after this call."""
        async with self._place():
            return await self._inner.get(session_id, freshness=Freshness.FRESH)

    async def get_shared(self, session_id: SessionId, writes: int) -> AnalyticsAnswer | None:
        """A read that begins after this call, or is under way already: it may miss another process's write that was just acknowledged.

        `writes` counts this process's own: a read that began before the last of them is not joined.
        """
        landed = await self._shared.join((session_id, writes), partial(self.get, session_id))
        self._stats.count("database_joined", landed.joined)
        return landed.result

    async def get_document(self, session_id: SessionId) -> DocumentAnswer | None:
        """The document, by a read that begins after this call."""
        async with self._place():
            return await self._inner.get_document(session_id, freshness=Freshness.FRESH)

    async def get_version(self, session_id: SessionId) -> VersionAnswer | None:
        """The version alone, by a read that begins after this call."""
        async with self._place():
            return await self._inner.get_version(session_id, freshness=Freshness.FRESH)

    async def get_many(self, session_ids: Sequence[SessionId]) -> dict[SessionId, AnalyticsAnswer]:
        """One read that begins after this call."""
        async with self._place():
            return await self._inner.get_many(session_ids, freshness=Freshness.FRESH)

    async def aclose(self) -> None:
        """Ends reads that nobody waits for any more."""
        await self._shared.aclose()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        began_s = self._stats.clock()
        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError:
            self._stats.count("database_busy")
            raise StorageUnavailable("too many reads wait for the database; try again, or ask less at once") from None
        try:
            yield
        except StorageError as error:
            self._stats.database_failed(error)
            raise
        else:
            self._stats.took("database", began_s)  # The wait for a turn is part of it.
        finally:
            self._places.release()
