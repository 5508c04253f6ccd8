"""The inner repository behind its bounds: so many reads at once, and a bounded wait for a turn.

When Redis goes away every read comes here, all of those that waited for it in the same moment. Of those that come in one turn of the event
loop the first is read by itself; the others, and who comes while as many as may be are under way, gather, and what has gathered is read by
one statement. So a burst is a few statements on the few connections that are open, however many read (docs/adr/0025).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from math import inf

from adapters.redis_cache.flights import Flights
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.stats import CacheStats
from domain.errors import StorageError, StorageUnavailable, StoredDataInvalid
from domain.ports import AnalyticsAnswer, Freshness, SessionAnalyticsRepository, VersionAnswer
from domain.session import SessionId


@dataclass(slots=True, eq=False)
class _Gathering:
    """Sessions that will be read together when it is their turn, and those of them that cannot be read."""

    session_ids: dict[SessionId, None] = field(default_factory=dict)
    damaged: dict[SessionId, StoredDataInvalid] = field(default_factory=dict)


class Truth:
    """Asks the inner repository. When Redis is away everybody comes here: this keeps them from drowning the database."""

    def __init__(self, inner: SessionAnalyticsRepository, policy: CachePolicy, stats: CacheStats) -> None:
        self._inner = inner
        self._stats = stats
        self._places = asyncio.Semaphore(policy.inner_reads_max)
        self._singles = asyncio.Semaphore(policy.inner_singles_max)
        self._gathered_max = policy.inner_gathered_max
        self._wait_s = policy.inner_wait_s
        self._has_begun_one = False
        self._gathering: _Gathering | None = None
        self._gathered: Flights[_Gathering, dict[SessionId, AnalyticsAnswer]] = Flights(inf)

    async def get(self, session_id: SessionId) -> AnalyticsAnswer | None:
        """A read that begins after this call."""
        if self._has_begun_one or self._singles.locked():
            return await self._get_gathered(session_id)
        self._has_begun_one = True
        asyncio.get_running_loop().call_soon(self._turn_ends)
        async with self._place(self._singles):
            return await self._inner.get(session_id, freshness=Freshness.FRESH)

    async def get_version(self, session_id: SessionId) -> VersionAnswer | None:
        """The version alone, by a read that begins after this call."""
        async with self._place(self._places):
            return await self._inner.get_version(session_id, freshness=Freshness.FRESH)

    async def get_many(self, session_ids: Sequence[SessionId]) -> dict[SessionId, AnalyticsAnswer]:
        """One read that begins after this call."""
        async with self._place(self._places):
            return await self._inner.get_many(session_ids, freshness=Freshness.FRESH)

    async def aclose(self) -> None:
        """Ends reads that nobody waits for any more."""
        await self._gathered.aclose()

    def _turn_ends(self) -> None:
        self._has_begun_one = False

    async def _get_gathered(self, session_id: SessionId) -> AnalyticsAnswer | None:
        gathering = self._gathering
        if gathering is None or len(gathering.session_ids) >= self._gathered_max:
            gathering = self._gathering = _Gathering()
        gathering.session_ids[session_id] = None
        self._stats.count("database_gathered")
        answers = (await self._gathered.join(gathering, partial(self._read_gathered, gathering))).result
        if (damaged := gathering.damaged.get(session_id)) is not None:
            raise damaged
        return answers.get(session_id)

    async def _read_gathered(self, gathering: _Gathering) -> dict[SessionId, AnalyticsAnswer]:
        async with self._place(self._singles):
            if self._gathering is gathering:  # It begins: whoever comes now may have to know more.
                self._gathering = None
            session_ids = list(gathering.session_ids)
            if len(session_ids) == 1:
                answer = await self._inner.get(session_ids[0], freshness=Freshness.FRESH)
                return {} if answer is None else {session_ids[0]: answer}
            try:
                return await self._inner.get_many(session_ids, freshness=Freshness.FRESH)
            except StoredDataInvalid:
                return await self._one_by_one(gathering)

    async def _one_by_one(self, gathering: _Gathering) -> dict[SessionId, AnalyticsAnswer]:
        """A damaged document is the trouble of who asked for it alone."""
        answers = {}
        for session_id in gathering.session_ids:
            try:
                answer = await self._inner.get(session_id, freshness=Freshness.FRESH)
            except StoredDataInvalid as error:
                self._stats.database_failed(error)
                gathering.damaged[session_id] = error
            else:
                if answer is not None:
                    answers[session_id] = answer
        return answers

    @asynccontextmanager
    async def _place(self, places: asyncio.Semaphore) -> AsyncIterator[None]:
        began_s = self._stats.clock()
        try:
            async with asyncio.timeout(self._wait_s):
                await places.acquire()
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
            places.release()
