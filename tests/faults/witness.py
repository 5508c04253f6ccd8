"""Readers and writers that note what they saw; a truth that notes what it committed, and lets faults happen at the worst moments."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from domain.analytics import SessionAnalytics
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
from tests.faults.history import Acknowledged, Answered, Committed, History, now_s
from tests.strategies import edition, number_of


def _nothing() -> None:
    pass


class NotedTruth(SessionAnalyticsRepository, ChangeFeed):
    """PostgreSQL; every commit goes to the history before anybody learns of it. `before_reading` is called for every read, `after_commit`
    between COMMIT and INVALIDATE, `after_look` between the relay's snapshot and its APPLY. Answers take up to `late_s` to arrive, so that
    writes overtake them."""

    def __init__(self, inner: PostgresSessionAnalyticsRepository, history: History, by: str) -> None:
        self._inner = inner
        self._history = history
        self._by = by
        self.before_reading: Callable[[], None] = _nothing
        self.after_commit: Callable[[], None] = _nothing
        self.after_look: Callable[[], None] = _nothing
        self.late_s = 0.0

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        self.before_reading()
        answer = await self._inner.get(session_id, freshness=freshness, at_least=at_least)
        await asyncio.sleep(self.late_s * random.random())
        return answer

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        self.before_reading()
        answers = await self._inner.get_many(session_ids, freshness=freshness)
        await asyncio.sleep(self.late_s * random.random())
        return answers

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        self.before_reading()
        return await self._inner.get_document(session_id, freshness=freshness, at_least=at_least)

    async def get_version(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> VersionAnswer | None:
        self.before_reading()
        return await self._inner.get_version(session_id, freshness=freshness, at_least=at_least)

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        receipt = await self._inner.save(analytics)
        self._history.note(Committed(str(analytics.session_id), receipt.version, number_of(analytics), now_s(), self._by))
        self.after_commit()
        return receipt

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        return await self._inner.delete(session_id)

    async def store_id(self) -> Any:
        return await self._inner.store_id()

    async def changes_since(self, position: int | None) -> Changes:
        changes = await self._inner.changes_since(position)
        self.after_look()
        return changes

    async def versions_of(self, session_ids: Collection[SessionId]) -> dict[SessionId, int]:
        return await self._inner.versions_of(session_ids)

    def listening(self, on_write: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        return self._inner.listening(on_write)


class Witness:
    """Uses a repository and notes what came of it."""

    def __init__(self, repository: SessionAnalyticsRepository, history: History, by: str) -> None:
        self.repository = repository
        self.history = history
        self.by = by

    async def read(self, session_id: SessionId, freshness: Freshness = Freshness.BOUNDED, at_least: int = 0) -> Answered:
        """One session."""
        began_s = now_s()
        answer = await self.repository.get(session_id, freshness=freshness, at_least=at_least or None)
        return self._note(session_id, answer, began_s, freshness, at_least)

    async def read_batch(self, session_ids: Sequence[SessionId], freshness: Freshness = Freshness.BOUNDED) -> None:
        """Several at once."""
        began_s = now_s()
        answers = await self.repository.get_many(session_ids, freshness=freshness)
        for session_id in session_ids:
            self._note(session_id, answers.get(session_id), began_s, freshness, 0)

    async def write(self, session_id: SessionId, number: int) -> SaveReceipt:
        """The edition of this number. The commit itself is noted by the truth."""
        began_s = now_s()
        receipt = await self.repository.save(edition(session_id, number))
        if receipt.fresh:
            self.history.note(Acknowledged(str(session_id), receipt.version, began_s, now_s(), self.by))
        return receipt

    def _note(self, session_id: SessionId, answer: AnalyticsAnswer | None, began_s: float, freshness: Freshness, at_least: int) -> Answered:
        version, content, source = (0, 0, "") if answer is None else (answer.version, number_of(answer.analytics), answer.source)
        noted = Answered(str(session_id), version, content, began_s, now_s(), freshness.value, source, at_least, self.by)
        self.history.note(noted)
        return noted


@asynccontextmanager
async def under_load(
    witnesses: Sequence[Witness], session_ids: Sequence[SessionId], *, readers: int, writers: int, written: Sequence[SessionId] = ()
) -> AsyncIterator[None]:
    """So many readers and writers use the witnesses by turns, until the block ends. What any of them raises is raised."""
    numbers = itertools.count(1000)
    over = asyncio.Event()

    async def reader(witness: Witness, dice: random.Random) -> None:
        seen: dict[SessionId, int] = {}
        while not over.is_set():
            session_id = dice.choice(session_ids)
            match dice.randrange(8):
                case 0:
                    await witness.read_batch(session_ids, dice.choice(list(Freshness)))
                case 1:
                    # A session of a user: no answer is older than the last.
                    answer = await witness.read(session_id, at_least=seen.get(session_id, 0))
                    seen[session_id] = answer.version
                case 2 | 3 | 4:
                    await witness.read(session_id, Freshness.FRESH)
                case _:
                    await witness.read(session_id)
            await asyncio.sleep(0.03 * dice.random())

    async def writer(witness: Witness, dice: random.Random) -> None:
        while not over.is_set():
            await witness.write(dice.choice(written), next(numbers))
            await asyncio.sleep(0.1 * dice.random())

    turns = itertools.cycle(witnesses)
    async with asyncio.TaskGroup() as tasks:
        for number in range(readers):
            tasks.create_task(reader(next(turns), random.Random(number)))
        for number in range(writers):
            tasks.create_task(writer(next(turns), random.Random(-1 - number)))
        try:
            yield
        finally:
            over.set()
