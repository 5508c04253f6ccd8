"""A storage that is slow and fails on demand, over one that does not: to see, and to test, what everybody else makes of that.

    CHAOS_LATENCY_MS=200 CHAOS_FAILURE_RATE=0.3 emg-sessions show SESSION_ID

A failure is what a real one is: either nothing was done, or it was done and the answer was lost. Whoever called cannot tell which. Calm, it
is as if it were not there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

from domain.analytics import SessionAnalytics
from domain.errors import InvalidSettings, StorageUnavailable
from domain.ports import (
    AnalyticsAnswer,
    ChangeFeed,
    Changes,
    DeleteReceipt,
    DocumentAnswer,
    Freshness,
    SaveReceipt,
    SessionAnalyticsRepository,
    VersionAnswer,
)
from domain.session import SessionId

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """What goes wrong, and how much."""

    latency_s: float = 0.0
    """The most that a call takes longer; each takes a random share of it."""
    failure_rate: float = 0.0
    """The share of calls, 0 to 1, that fail before anything was done."""
    lost_answer_rate: float = 0.0
    """The share of calls, 0 to 1, that are done and fail all the same."""
    outages_s: tuple[tuple[float, float], ...] = ()
    """From when until when every call fails, in seconds since the repository was made."""

    def __post_init__(self) -> None:
        if not 0 <= self.latency_s < float("inf"):
            raise InvalidSettings(f"CHAOS_LATENCY_MS must be at least 0, not {self.latency_s * 1000:g}")
        if not 0 <= self.failure_rate <= 1 or not 0 <= self.lost_answer_rate <= 1:
            raise InvalidSettings(f"CHAOS_FAILURE_RATE is a share from 0 to 1, not {self.failure_rate:g} or {self.lost_answer_rate:g}")
        if any(not begin < end for begin, end in self.outages_s):
            raise InvalidSettings("an outage ends after it begins")


CALM: Final = Chaos()


class ChaosSessionAnalyticsRepository(SessionAnalyticsRepository, ChangeFeed):
    """`inner`, disturbed as `chaos` says, which may be set anew at any time.

    It passes on `inner`'s change feed, or `feed`; without one, those methods raise TypeError. `dice` gives numbers from 0 to 1: seeded, the
    same calls in the same order meet the same fate.
    """

    def __init__(
        self,
        inner: SessionAnalyticsRepository,
        chaos: Chaos = CALM,
        *,
        feed: ChangeFeed | None = None,
        dice: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._inner = inner
        self._feed = inner if feed is None and isinstance(inner, ChangeFeed) else feed
        self._dice = dice
        self._clock = clock
        self._sleep = sleep
        self._began_s = clock()
        self.chaos = chaos
        self.failures = 0
        """Calls that failed on purpose so far."""

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """See the port."""
        return await self._disturbed(lambda: self._inner.get(session_id, freshness=freshness, at_least=at_least))

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        """See the port."""
        return await self._disturbed(lambda: self._inner.get_many(session_ids, freshness=freshness))

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        """See the port."""
        return await self._disturbed(lambda: self._inner.get_document(session_id, freshness=freshness, at_least=at_least))

    async def get_version(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> VersionAnswer | None:
        """See the port."""
        return await self._disturbed(lambda: self._inner.get_version(session_id, freshness=freshness, at_least=at_least))

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        """See the port."""
        return await self._disturbed(lambda: self._inner.save(analytics))

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        """See the port."""
        return await self._disturbed(lambda: self._inner.delete(session_id))

    async def store_id(self) -> UUID:
        """See ChangeFeed."""
        feed = self._the_feed()
        return await self._disturbed(feed.store_id)

    async def changes_since(self, position: int | None) -> Changes:
        """See ChangeFeed."""
        feed = self._the_feed()
        return await self._disturbed(lambda: feed.changes_since(position))

    async def versions_of(self, session_ids: Collection[SessionId]) -> dict[SessionId, int]:
        """See ChangeFeed."""
        feed = self._the_feed()
        return await self._disturbed(lambda: feed.versions_of(session_ids))

    def listening(self, on_write: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """See ChangeFeed. Hints are never disturbed: they may be lost anyway."""
        return self._the_feed().listening(on_write)

    def _the_feed(self) -> ChangeFeed:
        if self._feed is None:
            raise TypeError(f"{type(self._inner).__name__} is no change feed, and none was given")
        return self._feed

    async def _disturbed(self, call: Callable[[], Awaitable[T]]) -> T:
        # Three numbers a call, needed or not, so that a seed means the same sequence whatever the rates are.
        latency, failure, loss = self._dice(), self._dice(), self._dice()
        chaos = self.chaos
        if chaos.latency_s > 0:
            await self._sleep(latency * chaos.latency_s)
        now_s = self._clock() - self._began_s
        if failure < chaos.failure_rate or any(begin <= now_s < end for begin, end in chaos.outages_s):
            raise self._failure()
        result = await call()
        if loss < chaos.lost_answer_rate:
            raise self._failure()
        return result

    def _failure(self) -> StorageUnavailable:
        self.failures += 1
        return StorageUnavailable("the storage fails on purpose; CHAOS_FAILURE_RATE=0 ends that")
