"""The cache over real truths, in a real Redis; what tests need to see and to disturb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import pytest
import redis.asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.memory import MemorySessionAnalyticsRepository
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.redis_cache.compose import cached
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository as Cached
from domain.analytics import SessionAnalytics
from domain.errors import StorageUnavailable
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
from tests.stores import closed_port, engine

__all__ = ["closed_port", "engine"]

BOUND_S: Final = 0.6

# A minute's heartbeat: nothing happens by itself while a test looks. Commands may take their time on a busy machine.
# Without copies in the process, except where a test is about them: these look at what Redis does.
QUIET: Final = CachePolicy(near_entries_max=0, heartbeat_s=60.0, command_s=2.0, connect_s=2.0)
# As short a bound as a test can await.
BRISK: Final = CachePolicy(near_entries_max=0, heartbeat_s=BOUND_S, command_s=0.1, connect_s=0.2, open_s=0.1)

Truth = MemorySessionAnalyticsRepository | PostgresSessionAnalyticsRepository


class WatchedRepository(SessionAnalyticsRepository, ChangeFeed):
    """Another repository, that counts its reads, and waits or fails on demand. It tells of writes if it is `telling`."""

    def __init__(self, inner: Truth) -> None:
        self.inner = inner
        self.reads: list[tuple[SessionId, ...]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = asyncio.Event()
        self.loaded = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.failing = False
        self.feed_failing = False
        self.telling = False
        self.after_each_look: Callable[[], Awaitable[None]] | None = None

    async def _pass(self, *session_ids: SessionId) -> None:
        self.reads.append(session_ids)
        self.waiting.set()
        await self.open.wait()
        if self.failing:
            raise StorageUnavailable("the test says so")

    async def _answer(self) -> None:
        """Between what was read and its arrival at the reader."""
        self.loaded.set()
        await self.may_answer.wait()

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        await self._pass(session_id)
        answer = await self.inner.get(session_id, freshness=freshness, at_least=at_least)
        await self._answer()
        return answer

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        await self._pass(*session_ids)
        answers = await self.inner.get_many(session_ids, freshness=freshness)
        await self._answer()
        return answers

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        await self._pass(session_id)
        return await self.inner.get_document(session_id, freshness=freshness, at_least=at_least)

    async def get_version(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> VersionAnswer | None:
        await self._pass(session_id)
        return await self.inner.get_version(session_id, freshness=freshness, at_least=at_least)

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        return await self.inner.save(analytics)

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        return await self.inner.delete(session_id)

    async def store_id(self) -> Any:
        if self.feed_failing:
            raise StorageUnavailable("the test says so")
        return await self.inner.store_id()

    async def changes_since(self, position: int | None) -> Changes:
        if self.feed_failing:
            raise StorageUnavailable("the test says so")
        changes = await self.inner.changes_since(position)
        if self.after_each_look is not None:
            await self.after_each_look()
        return changes

    async def versions_of(self, session_ids: Collection[SessionId]) -> dict[SessionId, int]:
        if self.feed_failing:
            raise StorageUnavailable("the test says so")
        return await self.inner.versions_of(session_ids)

    def listening(self, on_write: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        return self.inner.listening(on_write) if self.telling else nullcontext()


@dataclass
class Caches:
    """Opens caches over one truth and closes them at the end of the test."""

    truth: WatchedRepository
    redis_url: str
    prefix: str
    stack: AsyncExitStack

    async def open(
        self, policy: CachePolicy = QUIET, *, url: str | None = None, prefix: str | None = None, truth: WatchedRepository | None = None
    ) -> Cached:
        inner = truth or self.truth
        cache = cached(inner, inner, redis_url=url or self.redis_url, key_prefix=prefix or self.prefix, policy=policy)
        await cache.open()
        self.stack.push_async_callback(cache.aclose)
        return cache

    async def keys(self) -> Keys:
        return Keys.of(self.prefix, await self.truth.inner.store_id())


@pytest.fixture
async def truth() -> WatchedRepository:
    """The smallest truth; a test that is about SQL as well takes `either_truth`."""
    return WatchedRepository(MemorySessionAnalyticsRepository())


@pytest.fixture(params=["memory", "postgres"])
async def either_truth(request: pytest.FixtureRequest, engine: AsyncEngine) -> WatchedRepository:
    """Each truth."""
    return WatchedRepository(
        PostgresSessionAnalyticsRepository(engine) if request.param == "postgres" else MemorySessionAnalyticsRepository()
    )


@pytest.fixture
async def caches(truth: WatchedRepository, redis_url: str, redis_prefix: str) -> AsyncIterator[Caches]:
    """Caches over the smallest truth."""
    async with AsyncExitStack() as stack:
        yield Caches(truth, redis_url, redis_prefix, stack)


@pytest.fixture
async def caches_over_either(either_truth: WatchedRepository, redis_url: str, redis_prefix: str) -> AsyncIterator[Caches]:
    """Caches over each truth."""
    async with AsyncExitStack() as stack:
        yield Caches(either_truth, redis_url, redis_prefix, stack)


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[Any]:
    """A plain client, to look at keys and to disturb them."""
    client = redis.asyncio.Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def keys(caches: Caches) -> Keys:
    """The names of the keys of the caches over the smallest truth."""
    return await caches.keys()


async def all_keys(raw: Any, prefix: str) -> list[bytes]:
    """The keys under a prefix."""
    return sorted([name async for name in raw.scan_iter(match=f"{prefix}:*", count=1000)])
