"""What a work is given: servers, documents, the pace, and the truth as everybody loads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import document
from adapters.entrypoints.bench.documents import Documents, of_session, session_id_of
from adapters.entrypoints.bench.figures import Findings
from adapters.entrypoints.bench.method import Pace, Progress
from adapters.entrypoints.bench.servers import Place
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from domain.analytics import SessionAnalytics
from domain.ports import AnalyticsAnswer, Freshness
from domain.session import SessionId

_ROWS_AT_ONCE: Final = 2_000
_FILL: Final = sa.text(
    "INSERT INTO session_analytics (session_id, document)"
    " SELECT id, jsonb_set(CAST(:document AS jsonb), '{session_id}', to_jsonb(CAST(id AS text)))"
    " FROM unnest(CAST(:ids AS uuid[])) AS id"
    " ON CONFLICT (session_id) DO UPDATE SET document = excluded.document"
    " WHERE session_analytics.document IS DISTINCT FROM excluded.document"
)


class CountedRepository(PostgresSessionAnalyticsRepository):
    """The truth, counting how often it is asked for documents."""

    loads = 0

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """See the port."""
        self.loads += 1
        return await super().get(session_id, freshness=freshness, at_least=at_least)

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        """See the port."""
        self.loads += 1
        return await super().get_many(session_ids, freshness=freshness)


@dataclass(frozen=True, slots=True)
class Truth:
    """PostgreSQL, as every peer loads from it: by the same repository, so that they differ in what they do, not in what they load."""

    engine: AsyncEngine
    repository: CountedRepository

    async def load(self, number: int) -> SessionAnalytics:
        """The analytics of the session of this number. Raises LookupError if it is not stored."""
        answer = await self.repository.get(session_id_of(number))
        if answer is None:
            raise LookupError(f"session {number} of the bench is not stored")
        return answer.analytics

    async def load_many(self, numbers: Sequence[int]) -> dict[int, SessionAnalytics]:
        """Those that are stored, in one query."""
        answers = await self.repository.get_many([session_id_of(number) for number in numbers])
        return {number: answers[session_id_of(number)].analytics for number in numbers if session_id_of(number) in answers}

    async def fill(self, analytics: SessionAnalytics, numbers: Sequence[int]) -> None:
        """Stores this document for the sessions of these numbers, many in a statement."""
        body = document.encode_to_store(of_session(analytics, 0)).decode()
        for begin in range(0, len(numbers), _ROWS_AT_ONCE):
            ids = [session_id_of(number) for number in numbers[begin : begin + _ROWS_AT_ONCE]]
            async with self.engine.begin() as connection:
                await connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                await connection.execute(_FILL, {"document": body, "ids": ids})


@asynccontextmanager
async def open_truth(database_url: str) -> AsyncIterator[Truth]:
    """The truth at a database that has our tables."""
    engine = create_engine(database_url, PostgresPolicy())
    try:
        yield Truth(engine, CountedRepository(engine))
    finally:
        await engine.dispose()


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything a work needs. Works use session numbers of their own, from `numbers`, so that none finds what another left."""

    place: Place
    truth: Truth
    documents: Documents
    pace: Pace
    progress: Progress = field(default_factory=Progress)

    def with_prefix(self, name: str) -> Stage:
        """The same with keys of its own in Redis, for a work or a part of it; they are removed with the rest."""
        return replace(self, place=replace(self.place, key_prefix=f"{self.place.key_prefix}_{name}"))


@dataclass(frozen=True, slots=True)
class Work:
    """One part of a run. `weight` is about how many seconds it takes at the quick pace, for the progress bar."""

    name: str
    title: str
    run: Callable[[Stage], Awaitable[Findings]]
    weight: float = 1.0
