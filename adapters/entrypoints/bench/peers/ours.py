"""Emg-Sessions itself, as it comes: the repository of domain/ports.py over PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, Final

from adapters.entrypoints.bench.documents import session_id_of
from adapters.entrypoints.bench.peers.peer import BatchPeer
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from domain.analytics import SessionAnalytics
from domain.ports import Freshness

_SETTLED_S: Final = 5.0
_POLL_S: Final = 0.01


class Ours(BatchPeer):
    """The coherent cache with all its defaults: copies in the process, trusted for a second; Redis; PostgreSQL."""

    name = "Emg-Sessions"
    how = "as it comes: decoded copies in the process (1,000 at most), trusted for 1 s, then confirmed in Redis; never older than 2 s"
    documentation = "docs/caching.md"
    protection = "as it comes: one reader of all processes gets a lease and loads, the others wait for it"
    freshness: ClassVar[Freshness] = Freshness.BOUNDED
    policy: ClassVar[CachePolicy] = CachePolicy()

    def __init__(self, place: Place, truth: Truth) -> None:
        super().__init__(place, truth)
        self.repository = cached(
            truth.repository, truth.repository, redis_url=place.redis_url, key_prefix=place.key_prefix, policy=self.policy
        )

    async def open(self) -> None:
        """Begins to follow the change log."""
        await self.repository.open()

    async def aclose(self) -> None:
        """Ends that."""
        await self.repository.aclose()

    async def get(self, number: int) -> SessionAnalytics | None:
        """One read; what is not held is loaded and filled by the same call."""
        answer = await self.repository.get(session_id_of(number), freshness=self.freshness)
        return None if answer is None else answer.analytics

    async def put(self, number: int, analytics: SessionAnalytics) -> None:  # noqa: ARG002 - nobody puts anything into this cache
        """By a read: what others say to be the truth is not taken."""
        await self.read(number)

    async def put_many(self, analytics: Mapping[int, SessionAnalytics]) -> None:
        """By one batch of reads."""
        await self.get_many(list(analytics))

    async def drop(self, numbers: Sequence[int]) -> None:
        """As `emg-sessions cache invalidate` does."""
        for number in numbers:
            await self.repository.forget(session_id_of(number))

    async def settle(self, numbers: Sequence[int]) -> None:
        """A peer that blocks the event loop for long keeps this cache from hearing that Redis is in step, and then it reads PostgreSQL.
        What is timed are hits, so the turn waits until that is over, for a bounded time: on a machine that never lets Redis answer within
        its deadline, reads of PostgreSQL are what there is to be timed."""
        session_id = session_id_of(numbers[0])
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLED_S):
                while True:
                    answer = await self.repository.get(session_id, freshness=Freshness.FRESH)
                    if answer is not None and answer.source == "redis":
                        return
                    await asyncio.sleep(_POLL_S)

    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """One call."""
        wanted = [session_id_of(number) for number in numbers]
        answers = await self.repository.get_many(wanted, freshness=self.freshness)
        return [answers[session_id].analytics if session_id in answers else None for session_id in wanted]

    async def save(self, number: int, analytics: SessionAnalytics) -> None:  # noqa: ARG002 - the analytics name their session
        """One call; what is outdated is invalidated everywhere by it."""
        await self.repository.save(analytics)


class OursFresh(Ours):
    """Reads that ask for FRESH."""

    name = "Emg-Sessions, FRESH"
    how = "as it comes, every read with freshness=FRESH: as new as the last acknowledged write, so Redis is asked each time"
    freshness = Freshness.FRESH


class OursFar(Ours):
    """Without copies in the process."""

    name = "Emg-Sessions, Redis"
    how = "CACHE_NEAR_ENTRIES_MAX=0: no copies in the process, every read goes to Redis, is decompressed and decoded"
    policy = CachePolicy(near_entries_max=0)
    name_raw: ClassVar[str] = "Emg-Sessions, Redis, as stored"

    async def raw(self, number: int) -> bytes | None:
        """The bytes as they are stored, checked and compressed: what the HTTP route passes on."""
        answer = await self.repository.get_document(session_id_of(number))
        return None if answer is None else answer.body
