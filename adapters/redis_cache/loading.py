"""From the truth into Redis: whoever has the lease loads and fills, and who wants the same meanwhile in this process shares it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
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
from adapters.redis_cache.together import together
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


@dataclass(frozen=True, slots=True)
class _Claim:
    """The leases asked for in one partition, and under which epoch what is loaded may be stored there."""

    miss: Miss
    lease: Lease


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

    async def load_many(
        self, missing: Sequence[tuple[Miss, Sequence[SessionId]]], past_redis: Sequence[SessionId]
    ) -> dict[SessionId, AnalyticsAnswer]:
        """What the truth has of all these sessions, by one read: of those that are missing in Redis, whose leases are taken first and which
        are then stored, by partition; and of those that are read past it. Waits for nobody: what others are loading is loaded here too,
        and not stored."""
        claims: list[_Claim] = []

        async def claim(miss: Miss, session_ids: Sequence[SessionId]) -> None:
            claims.append(_Claim(miss, await self._leases.acquire(miss.keys, session_ids, miss.epoch)))

        try:
            await together([claim(miss, session_ids) for miss, session_ids in missing])
        except BaseException:
            self._give_back(claims)
            raise
        answers, _ = await self._load_and_fill([*(one for _, found in missing for one in found), *past_redis], claims)
        return answers

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
        answers, accepted = await self._load_and_fill([session_id], [_Claim(miss, lease)])
        answer = answers.get(session_id)
        return Loaded(answer, answer.version if answer else lease.floors[session_id], accepted=session_id in accepted)

    async def _load_and_fill(
        self, session_ids: Sequence[SessionId], claims: Sequence[_Claim]
    ) -> tuple[dict[SessionId, AnalyticsAnswer], set[SessionId]]:
        """The answers of the truth, and for which sessions (there or not) Redis accepted them."""
        if misses := sum(len(claim.lease.grants) for claim in claims):
            self._stats.count("misses", misses)
        began = self._near.read_begins()
        try:
            # Begun after the leases were granted, so it sees every write up to their floors, and every other one that did not void them.
            if len(session_ids) == 1:
                answer = await self._truth.get(session_ids[0])
                answers = {} if answer is None else {session_ids[0]: answer}
            else:
                answers = await self._truth.get_many(session_ids)
            filled = await together([self._fill(claim, answers) for claim in claims])
        except BaseException:  # Others need not wait for the leases to end.
            self._give_back(claims)
            raise
        accepted = [entry for entries in filled for entry in entries]
        for entry in accepted:
            analytics = answers[entry.session_id].analytics if entry.payload is not None else None
            self._near.keep(NearCopy(entry, analytics), began)
        return answers, {entry.session_id for entry in accepted}

    async def _fill(self, claim: _Claim, answers: Mapping[SessionId, AnalyticsAnswer]) -> list[Entry]:
        """Stores what was loaded under leases of one partition; what Redis accepted."""
        miss, lease = claim.miss, claim.lease
        entries = [
            await self._codec.entry(session_id, answers.get(session_id), miss.epoch, absent_since=lease.floors[session_id])
            for session_id in lease.held
        ]
        storable = [entry for entry in entries if entry is not None]
        # Nobody may join from here on: Redis may accept now, and a write that passes before its answer is here would be missed.
        for session_id in lease.grants:
            self._loads.depart(session_id)
        stored = await self._leases.fill(miss.keys, lease, storable) if storable else []
        self._stats.filled(storable, stored)
        if too_large := [session_id for session_id, entry in zip(lease.held, entries, strict=True) if entry is None]:
            self._stats.count("too_large", len(too_large))
            self._leases.give_back(miss.keys, lease, too_large)
        return [entry for entry, was_stored in zip(storable, stored, strict=True) if was_stored]

    def _give_back(self, claims: Sequence[_Claim]) -> None:
        for claim in claims:
            if held := claim.lease.held:
                self._leases.give_back(claim.miss.keys, claim.lease, held)
