"""Readers and writers of a peer whose reads and commits are noted, so that it can be told how old what was read is."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.entrypoints.bench.documents import of_session, session_id_of
from adapters.entrypoints.bench.ledger import Ledger, Seen
from adapters.entrypoints.bench.peers.ours import Ours
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import CountedRepository, Truth
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.ready import ReadyConnections
from adapters.postgres.session_analytics import READS
from domain.analytics import SessionAnalytics
from domain.ports import AnalyticsAnswer, Freshness, SaveReceipt
from domain.session import SessionId

_CHATTY: Final = ("cashews", "aiocache")
_loads: ContextVar[list[int] | None] = ContextVar("_loads", default=None)


class NotedRepository(CountedRepository):
    """PostgreSQL, which notes what it committed before anybody else learns of it. Answers to single reads may be held up on their way, for
    up to `late_s`, as in a process that is busy or on a network that is: writes then overtake them."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger) -> None:
        super().__init__(engine)
        self._ledger = ledger
        self.late_s = 0.0

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """See the port."""
        answer = await super().get(session_id, freshness=freshness, at_least=at_least)
        if self.late_s:
            await asyncio.sleep(random.uniform(0, self.late_s))
        return answer

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        """See the port."""
        receipt = await super().save(analytics)
        self._ledger.committed(analytics.session_id, receipt.version, content_of(analytics), time.monotonic())
        return receipt


class NotedTruth(Truth):
    """The truth, which tells the read under way that it was asked."""

    async def load(self, number: int) -> SessionAnalytics:
        """See Truth."""
        asked = _loads.get()
        if asked is not None:
            asked.append(number)
        return await super().load(number)


@dataclass(frozen=True, slots=True)
class Witness:
    """Reads and writes sessions through a peer. Several may share a ledger, as processes that use one Redis."""

    peer: Peer
    truth: NotedTruth
    repository: NotedRepository
    ledger: Ledger
    analytics: SessionAnalytics
    editions: Iterator[int]

    async def read(self, number: int, *, fresh: bool | None = None) -> str:
        """One read, noted; who answered. `fresh`, or else as the peer reads, is what our cache alone offers: others are not held to it."""
        began_s = time.monotonic()
        asked_fresh = isinstance(self.peer, Ours) and (self.peer.freshness is Freshness.FRESH if fresh is None else fresh)
        analytics, source = await self._read(number, Freshness.FRESH if asked_fresh else Freshness.BOUNDED)
        self.ledger.seen.append(Seen(analytics.session_id, content_of(analytics), began_s, asked_fresh))
        return source

    async def is_outdated(self, number: int) -> bool:
        """Whether a read is answered with something else than the database has."""
        analytics, _ = await self._read(number, Freshness.BOUNDED)
        return content_of(analytics) != self.ledger.newest(analytics.session_id)

    async def _read(self, number: int, freshness: Freshness) -> tuple[SessionAnalytics, str]:
        if isinstance(self.peer, Ours):
            answer = await self.peer.repository.get(session_id_of(number), freshness=freshness)
            if answer is None:
                raise LookupError(f"session {number} of the bench is not stored")
            return answer.analytics, answer.source
        asked: list[int] = []
        mark = _loads.set(asked)
        try:
            analytics = await self.peer.read(number)
        finally:
            _loads.reset(mark)
        return analytics, "postgres" if asked else "cache"

    async def write(self, number: int) -> None:
        """Another edition of a session."""
        analytics = of_session(self.analytics, number, next(self.editions))
        if isinstance(self.peer, Ours):
            receipt = await self.peer.repository.save(analytics)
            if receipt.fresh:
                self.ledger.promised(analytics.session_id, receipt.version, content_of(analytics), time.monotonic())
        else:
            await self.peer.save(number, analytics)

    async def write_past(self, number: int) -> None:
        """Another edition, by somebody who knows of no cache, as one with psql."""
        await self.repository.save(of_session(self.analytics, number, next(self.editions)))


def content_of(analytics: SessionAnalytics) -> float | None:
    """What differs between editions of a document."""
    return analytics.channels[0].rms


@asynccontextmanager
async def open_witnesses(
    kind: type[Peer], place: Place, analytics: SessionAnalytics, numbers: Collection[int], *, count: int
) -> AsyncIterator[Sequence[Witness]]:
    """So many users of one cache, as so many processes would be, with connections of their own. The sessions are stored first."""
    ledger, editions = Ledger(), itertools.count(1)
    engine = create_engine(place.database_url, PostgresPolicy())
    async with AsyncExitStack() as closing:
        closing.push_async_callback(engine.dispose)
        await ReadyConnections(engine, READS, PostgresPolicy()).make_ready()  # As in a server.
        repository = NotedRepository(engine, ledger)
        truth = NotedTruth(engine, repository)
        await truth.fill(analytics, list(numbers))
        for session_id, version in (await repository.versions_of(list(map(session_id_of, numbers)))).items():
            ledger.committed(session_id, version, content_of(analytics), time.monotonic())
        witnesses = []
        for _ in range(count):
            peer = kind(place, truth)
            await peer.open()
            closing.push_async_callback(peer.aclose)
            witnesses.append(Witness(peer, truth, repository, ledger, analytics, editions))
        yield witnesses


@asynccontextmanager
async def all_or_first_failure() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks of which the first failure ends all, and is raised as what it is."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


@contextmanager
def quiet() -> Iterator[None]:
    """What fails is meant to, and is counted. Peers log each failure with its traceback: thousands of them would be charged to those who
    fail most. Ours logs the breaker's changes of state."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    ours = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(wrapper_class=ours)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
