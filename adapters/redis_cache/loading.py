"""From the truth into Redis: whoever has the lease loads and fills, and who wants the same meanwhile in this process shares it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from adapters.redis_cache.codec import Codec
from adapters.redis_cache.entry import Entry
from adapters.redis_cache.flights import Flights, Landed
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.leases import Lease, Leases
from adapters.redis_cache.lookup import Miss
from adapters.redis_cache.near import NearCache, NearCopy
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.stats import CacheStats
from adapters.redis_cache.truth import Truth
from domain.errors import StorageError
from domain.ports import AnalyticsAnswer
from domain.session import SessionId


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the truth answered under a lease. `version`: of the answer; if there is none, a version that is not newer than its absence.
    `accepted`: Redis stored it, so no write had passed that the answer does not show."""

    answer: AnalyticsAnswer | None
    version: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class NotOurs:
    """Another process loads it or just has ("busy", "hit"), or Redis does not say ("unavailable")."""

    grant: str


class Loading:
    """Loads under leases: one session for many who want it, several for a batch, and in the background what is near its end."""

    def __init__(self, truth: Truth, leases: Leases, *, codec: Codec, near: NearCache, policy: CachePolicy, stats: CacheStats) -> None:
        self._truth = truth
        self._leases = leases
        self._codec = codec
        self._near = near
        self._stats = stats
        # Not joined beyond the bound: a load that stalled might be accepted by a Redis that failed over and has its old lease again.
        self._loads: Flights[SessionId, Loaded | NotOurs] = Flights(policy.heartbeat_s)
        self._refreshes: Flights[SessionId, Loaded | NotOurs] = Flights(policy.heartbeat_s)
        self._background: set[asyncio.Task[Any]] = set()

    async def join(self, session_id: SessionId, at_least: int, miss: Miss) -> Landed[Loaded | NotOurs]:
        """One load for this session at a time in this process. Of one that was joined only what Redis accepted tells enough."""
        return await self._loads.join(session_id, partial(self._load, session_id, at_least, miss))

    def refresh(self, keys: Keys, entry: Entry) -> None:
        """Renews an entry in the background: a newer version than the one there is asked for, so the lease is given in spite of it."""
        session_id = entry.session_id
        miss = Miss(keys, entry.epoch)
        renew: Coroutine[Any, Any, Any] = self._refreshes.join(session_id, partial(self._load, session_id, entry.version + 1, miss))

        async def quietly() -> None:
            with suppress(StorageError):  # The entry is still good; the next reader tries again.
                await renew

        task = asyncio.create_task(quietly())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def load_and_fill(
        self, session_ids: Sequence[SessionId], lease: Lease, miss: Miss
    ) -> tuple[dict[SessionId, AnalyticsAnswer], set[SessionId]]:
        """The answers of the truth, and for which sessions (there or not) Redis accepted them."""
        self._stats.count("misses", len(session_ids))
        began = self._near.read_begins()
        unused = lease.held
        try:
            # Begun after the lease was granted, so it sees every write up to the floor, and every other one that did not void the lease.
            if len(session_ids) == 1:
                answer = await self._truth.get(session_ids[0])
                answers = {} if answer is None else {session_ids[0]: answer}
            else:
                answers = await self._truth.get_many(session_ids)
            entries = [
                await self._codec.entry(session_id, answers.get(session_id), miss.epoch, absent_since=lease.floors[session_id])
                for session_id in unused
            ]
            storable = [entry for entry in entries if entry is not None]
            # Nobody may join from here on: Redis may accept now, and a write that passes before its answer is here would be missed.
            for session_id in session_ids:
                self._loads.depart(session_id)
            stored = await self._leases.fill(miss.keys, lease, storable) if storable else []
            self._stats.filled(storable, stored)
            unused = [session_id for session_id, entry in zip(unused, entries, strict=True) if entry is None]
            self._stats.count("too_large", len(unused))
        finally:
            if unused:  # Too large, failed or cancelled: others need not wait for the leases to end.
                self._leases.give_back(miss.keys, lease, unused)
        accepted = [entry for entry, was_stored in zip(storable, stored, strict=True) if was_stored]
        for entry in accepted:
            analytics = answers[entry.session_id].analytics if entry.payload is not None else None
            self._near.keep(NearCopy(entry, analytics), began)
        return answers, {entry.session_id for entry in accepted}

    async def aclose(self) -> None:
        """Ends the loads under way and waits until they have ended."""
        for flights in (self._loads, self._refreshes):
            await flights.aclose()
        if self._background:
            await asyncio.wait(self._background)

    async def _load(self, session_id: SessionId, at_least: int, miss: Miss) -> Loaded | NotOurs:
        """Loads and fills, if the lease is ours."""
        lease = await self._leases.acquire(miss.keys, [session_id], miss.epoch, at_least)
        grant = lease.grants[session_id]
        if grant != "lease":
            return NotOurs(grant)
        answers, accepted = await self.load_and_fill([session_id], lease, miss)
        answer = answers.get(session_id)
        return Loaded(answer, answer.version if answer else lease.floors[session_id], accepted=session_id in accepted)
