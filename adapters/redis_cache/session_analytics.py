"""The caching repository: this process's own copies first, then Redis, then another repository for the truth.

A read of Redis is one MGET of the entry and the heartbeat, shared with all reads of the same turn of the event loop. With a heartbeat and a
good entry of its epoch: a hit. Without a heartbeat: the truth answers, nothing is stored. On a miss one reader of all processes gets the
lease, loads and fills; the others wait for it a little. Every write voids the lease, so a slow reader cannot store what was overwritten
while it loaded. relay.py says what keeps the heartbeat, near.py what becomes of decoded copies.

Nothing Redis does or fails to do reaches a caller: it costs a read of the truth, never an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, assert_never

import redis.asyncio as redis

from adapters import document
from adapters.redis_cache.codec import Codec
from adapters.redis_cache.entry import Entry, unpack, version_text
from adapters.redis_cache.flights import Flights
from adapters.redis_cache.inspection import CacheContents, CacheHealth, EntryFacts, look_at_contents, look_at_entry, look_at_health
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.leases import Lease, Leases
from adapters.redis_cache.near import NearCache, NearCopy, ReadMoment
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.reads import CoalescedReads
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.sampler import StalenessSampler
from adapters.redis_cache.server import CacheServer, Scripts, Unavailable
from adapters.redis_cache.stats import CacheStats
from adapters.redis_cache.truth import Truth
from domain.analytics import SessionAnalytics
from domain.errors import StorageError, StorageUnavailable
from domain.ports import AnalyticsAnswer, DeleteReceipt, DocumentAnswer, Freshness, SaveReceipt, SessionAnalyticsRepository, VersionAnswer
from domain.session import SessionId

# Of a damaged entry not even the version can be trusted.
_WHATEVER_ITS_VERSION: Final = b""
_DAMAGED_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Miss:
    """Redis does not have it, or too old a version; what is loaded now may be stored under this epoch."""

    keys: Keys
    epoch: bytes


@dataclass(frozen=True, slots=True)
class Bypass:
    """Redis cannot be used now. Not a miss: nothing is stored, nobody waits."""

    reason: str


Hit = Entry | NearCopy
"""Redis has it, and may be believed: what it sent, or our copy of just that."""
Outcome = Hit | Miss | Bypass


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


class RedisCachedSessionAnalyticsRepository(SessionAnalyticsRepository):
    """Session analytics from a cache where that is safe, else from `inner`. `open` it before use and `aclose` it after."""

    def __init__(
        self,
        inner: SessionAnalyticsRepository,
        *,
        server: CacheServer,
        scripts: Scripts,
        reads: Sequence[CoalescedReads],
        relay: Relay,
        leases: Leases,
        codec: Codec,
        policy: CachePolicy,
        stats: CacheStats,
        near: NearCache,
        sampler: StalenessSampler,
    ) -> None:
        self._inner = inner
        self._truth = Truth(inner, policy, stats)
        self._server = server
        self._scripts = scripts
        self._reads = reads
        self._relay = relay
        self._leases = leases
        self._codec = codec
        self._policy = policy
        self._near = near
        self._sampler = sampler
        # Not joined beyond the bound: a load that stalled might be accepted by a Redis that failed over and has its old lease again.
        self._loads: Flights[SessionId, Loaded | NotOurs] = Flights(policy.heartbeat_s)
        self._refreshes: Flights[SessionId, Loaded | NotOurs] = Flights(policy.heartbeat_s)
        self._background: set[asyncio.Task[Any]] = set()
        self._keeping_in_step: asyncio.Task[None] | None = None
        self._sampling: asyncio.Task[None] | None = None
        self.stats = stats

    async def open(self, *, relays: bool = True) -> None:
        """Brings the cache in step with the truth, then keeps it so. Without Redis or the truth it opens all the same.

        `relays` False: others keep it in step, or nobody, and then it is read past.
        """
        await self._relay.begin()
        if relays:
            self._keeping_in_step = asyncio.create_task(self._keep_in_step(), name="cache relay")
        self._sampling = asyncio.create_task(self._keep_sampling(), name="cache sampler")

    async def aclose(self) -> None:
        """Ends the relay and what is under way, and closes the connections to Redis. `inner` belongs to the caller."""
        for task in (self._keeping_in_step, self._sampling):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        for flights in (self._loads, self._refreshes, self._truth):
            await flights.aclose()
        if self._background:
            await asyncio.wait(self._background)
        for reads in self._reads:
            await reads.aclose()
        await self._leases.aclose()
        if self._relay.partitions:
            await self.stats.share(self._server, self._relay.partitions[0])
        await self._server.aclose()

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """See the port."""
        began_s = self.stats.clock()
        if freshness is Freshness.BOUNDED and (copy := self._near.trusted(session_id, at_least)) is not None and await self._ready(copy):
            self.stats.near_hit(session_id, began_s)
            return self._answer(copy, "near")
        for _ in range(_DAMAGED_MAX):
            began = self._near.read_begins()
            match await self._read_or_stale(session_id, freshness, at_least):
                case NearCopy() as copy:
                    if await self._ready(copy):
                        self._near.confirm(copy, began)
                        self.stats.took("redis", began_s)
                        return self._answer(copy, "redis")
                    self._near.drop(session_id)
                    await self._drop_damaged(session_id)
                case Entry() as entry:
                    if (decoded := await self._decoded(entry, began)) is not None:
                        self.stats.took("redis", began_s)
                        return self._answer(decoded, "redis")
                    await self._drop_damaged(session_id)
                case answer:
                    return answer
        return await self._truth.get(session_id)

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        """See the port. What is stored is passed on as it is."""
        began_s = self.stats.clock()
        if freshness is Freshness.BOUNDED and (copy := self._near.trusted(session_id, at_least)) is not None:
            self.stats.near_hit(session_id, began_s)
            return self._document(copy.entry, "near")
        began = self._near.read_begins()
        match await self._read_or_stale(session_id, freshness, at_least):
            case NearCopy() as copy:
                self._near.confirm(copy, began)
                self.stats.took("redis", began_s)
                return self._document(copy.entry, "redis")
            case Entry() as entry:
                self.stats.took("redis", began_s)
                self._near.keep(self._near.same(entry) or NearCopy(entry, None), began)
                return self._document(entry, "redis")
            case None:
                return None
            case answer:
                body = document.encode(answer.analytics)
                return DocumentAnswer(body, "identity", answer.version, answer.source, answer.age_s, answer.stale)

    async def get_version(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> VersionAnswer | None:
        """See the port. Where a copy is near, Redis is asked for the header alone; what is missing is filled, as by any read."""
        began_s = self.stats.clock()
        if freshness is Freshness.BOUNDED and (copy := self._near.trusted(session_id, at_least)) is not None:
            self.stats.near_hit(session_id, began_s)
            return self._version(copy.entry, "near")
        began = self._near.read_begins()
        match await self._look_up(session_id, at_least):
            case NearCopy() as copy:
                self.stats.hit(copy.entry)
                self.stats.took("redis", began_s)
                self._near.confirm(copy, began)
                return self._version(copy.entry, "redis")
            case Entry() as entry:
                self.stats.hit(entry)
                self.stats.took("redis", began_s)
                self._near.keep(self._near.same(entry) or NearCopy(entry, None), began)
                return self._version(entry, "redis")
            case Bypass(reason):
                self.stats.bypassed(reason)
                try:
                    return await self._truth.get_version(session_id)
                except StorageUnavailable:
                    if self._policy.fail_safe_s <= 0 or (stale := await self._stale(session_id, at_least)) is None:
                        raise
                    return VersionAnswer(stale.version, stale.source, stale.age_s, stale=True)
        match await self._read_or_stale(session_id, freshness, at_least):
            case NearCopy(entry=entry) | (Entry() as entry):
                return self._version(entry, "redis")
            case None:
                return None
            case answer:
                return VersionAnswer(answer.version, answer.source, answer.age_s, answer.stale)

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        """See the port. Batches of `policy.batch_max` sessions of a partition, each one MGET; what is missing is one read of `inner`."""
        wanted = list(dict.fromkeys(session_ids))
        answers: dict[SessionId, AnalyticsAnswer] = {}
        asked: list[SessionId] = []
        for session_id in wanted:
            copy = self._near.trusted(session_id, None) if freshness is Freshness.BOUNDED else None
            if copy is None or not await self._ready(copy):
                asked.append(session_id)
                continue
            self.stats.near_hit(session_id, None)
            answer = self._answer(copy, "near")
            if answer is not None:
                answers[session_id] = answer
        for keys, sessions in self._by_partition(asked):
            for start in range(0, len(sessions), self._policy.batch_max):
                answers |= await self._get_batch(keys, sessions[start : start + self._policy.batch_max])
        return {session_id: answers[session_id] for session_id in wanted if session_id in answers}

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        """See the port. Afterwards the analytics are in Redis, by the way every read takes: to store what was just written would be unsafe,
        because a newer write's invalidation may already have passed."""
        session_id = analytics.session_id
        try:
            receipt = await self._inner.save(analytics)
            # Also if nothing changed: whoever wrote this version may have died before telling Redis.
            fresh = receipt.fresh and await self._invalidate(session_id, receipt.version)
        finally:
            self._near.drop(session_id)  # Also where it is not known whether it was written.
        if fresh:
            with suppress(StorageError):  # The write stands, whatever becomes of the reading.
                await self.get(session_id, at_least=receipt.version)
        return SaveReceipt(receipt.version, receipt.changed, fresh)

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        """See the port."""
        try:
            receipt = await self._inner.delete(session_id)
            if receipt is None:
                # Whoever deleted it may have died before telling Redis.
                await self._invalidate(session_id, None)
                return None
            return DeleteReceipt(receipt.version, fresh=receipt.fresh and await self._invalidate(session_id, receipt.version))
        finally:
            self._near.drop(session_id)

    async def health(self) -> CacheHealth:
        """How the cache does now."""
        return await look_at_health(self._server, self._relay.partitions, self._policy, self.stats)

    def bounds(self) -> dict[str, int | float]:
        """What is promised and what is held in this process, with the bounds of both; by name, units last."""
        return {
            "staleness_bound_s": self._policy.heartbeat_s,
            "ttl_hours": self._policy.ttl_s / 3600.0,
            "near_entries": len(self._near),
            "near_entries_max": self._policy.near_entries_max,
            "near_bytes": self._near.bytes_held,
        }

    async def contents(self) -> CacheContents | Unavailable:
        """What is stored, and what all processes counted; with this process's counts added first."""
        partitions = self._relay.partitions
        if not partitions:
            return Unavailable("not_in_step")
        await self.stats.share(self._server, partitions[0])
        return await look_at_contents(self._server, partitions, self._policy, self.stats)

    async def inspect(self, session_id: SessionId) -> EntryFacts | Unavailable:
        """A session's entry as it lies in Redis."""
        keys = self._relay.keys_of(session_id)
        return Unavailable("not_in_step") if keys is None else await look_at_entry(self._server, keys, session_id)

    async def forget(self, session_id: SessionId) -> bool:
        """Drops a session's entry and copy, whatever its version; the next read asks the truth. False if Redis did not acknowledge."""
        self._near.drop(session_id)
        return await self._invalidate(session_id, None)

    async def forget_everything(self) -> bool:
        """Begins a new epoch: every entry is a miss from now on. False if Redis did not acknowledge."""
        self._near.clear()
        if not self._relay.partitions:
            return False
        for keys in self._relay.partitions:
            if isinstance(await self._server.on(partial(_forget, names=[keys.position, keys.heartbeat])), Unavailable):
                return False
        return await self._relay.catch_up()

    async def _keep_in_step(self) -> None:
        async with self._relay.listening():
            while True:
                await self._relay.next_pass()
                if self._relay.partitions:
                    await self.stats.share(self._server, self._relay.partitions[0])

    async def _keep_sampling(self) -> None:
        # A task of its own: neither waits for the other, and looks fall at any moment between two passes.
        while (pause_s := self._sampler.pause_s()) is not None:
            await asyncio.sleep(pause_s)
            if self._relay.partitions:
                await self._sampler.look(*self._relay.partitions)

    async def _read_or_stale(self, session_id: SessionId, freshness: Freshness, at_least: int | None) -> Hit | AnalyticsAnswer | None:
        """As `_read`; if the truth fails, a stale answer where that is allowed."""
        try:
            return await self._read(session_id, freshness, at_least)
        except StorageUnavailable:
            stale = await self._stale(session_id, at_least) if self._policy.fail_safe_s > 0 else None
            if stale is None:
                raise
            return stale

    async def _read(self, session_id: SessionId, freshness: Freshness, at_least: int | None) -> Hit | AnalyticsAnswer | None:
        """What Redis has and may be believed, or an answer of the truth."""
        clock = asyncio.get_running_loop().time
        give_up_at: float | None = None
        followed = False
        while True:
            match await self._look_up(session_id, at_least):
                case Entry() | NearCopy() as hit:
                    entry = hit if isinstance(hit, Entry) else hit.entry
                    self.stats.hit(entry, followed=followed)
                    if self._codec.wants_refresh(entry):
                        self._refresh(session_id, entry)
                    return hit
                case Miss() as miss if give_up_at is None or clock() < give_up_at:
                    give_up_at = give_up_at or clock() + self._policy.follow_s_max
                    landed = await self._loads.join(session_id, partial(self._load, session_id, at_least or 0, miss))
                    match landed.result:
                        # A load that had begun before we came tells us enough only if Redis accepted it.
                        case Loaded(answer) if not landed.joined:
                            return answer
                        case Loaded(answer, version, accepted=True) if version >= (at_least or 0):
                            self.stats.count("coalesced")
                            return answer
                        case NotOurs("busy"):  # Another process was chosen; we wait for it.
                            await asyncio.sleep(self._policy.follow_poll_s)
                        case NotOurs("unavailable"):
                            return await self._past_redis(session_id, freshness, at_least)
                    followed = True
                case Miss():
                    return await self._past_redis(session_id, Freshness.FRESH, at_least)
                case Bypass(reason):
                    self.stats.bypassed(reason)
                    return await self._past_redis(session_id, freshness, at_least)
                case outcome:
                    assert_never(outcome)

    async def _look_up(self, session_id: SessionId, at_least: int | None) -> Outcome:
        keys = self._relay.keys_of(session_id)
        if keys is None:
            return Bypass("not_in_step")
        name = keys.entry(session_id)
        if (copy := self._near.held(session_id)) is not None:
            # Whoever has the rest asks for the header alone, which holds a checksum of the rest.
            values = await self._reads[keys.partition].read_header(name, keys.heartbeat)
            if isinstance(values, Unavailable):
                return Bypass(values.reason)
            header, epoch = values
            if header == copy.header and epoch == copy.entry.epoch and copy.entry.version >= (at_least or 0):
                return copy
        values = await self._reads[keys.partition].read(name, keys.heartbeat)
        if isinstance(values, Unavailable):
            return Bypass(values.reason)
        value, epoch = values
        if epoch is None:
            return Bypass("not_in_step")
        if value is None:
            return Miss(keys, epoch)
        entry = unpack(value, session_id)
        if entry is None:
            await self._drop_damaged(session_id)
            return Miss(keys, epoch)
        if entry.epoch != epoch or entry.version < (at_least or 0):
            return Miss(keys, epoch)
        return entry

    async def _load(self, session_id: SessionId, at_least: int, miss: Miss) -> Loaded | NotOurs:
        """Loads and fills, if the lease is ours."""
        lease = await self._leases.acquire(miss.keys, [session_id], miss.epoch, at_least)
        grant = lease.grants[session_id]
        if grant != "lease":
            return NotOurs(grant)
        answers, accepted = await self._load_and_fill([session_id], lease, miss)
        answer = answers.get(session_id)
        return Loaded(answer, answer.version if answer else lease.floors[session_id], accepted=session_id in accepted)

    async def _load_and_fill(
        self, session_ids: Sequence[SessionId], lease: Lease, miss: Miss
    ) -> tuple[dict[SessionId, AnalyticsAnswer], set[SessionId]]:
        """The answers of the truth, and for which sessions (there or not) Redis accepted them."""
        self.stats.count("misses", len(session_ids))
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
            self.stats.filled(storable, stored)
            unused = [session_id for session_id, entry in zip(unused, entries, strict=True) if entry is None]
            self.stats.count("too_large", len(unused))
        finally:
            if unused:  # Too large, failed or cancelled: others need not wait for the leases to end.
                self._leases.give_back(miss.keys, lease, unused)
        accepted = [entry for entry, was_stored in zip(storable, stored, strict=True) if was_stored]
        for entry in accepted:
            analytics = answers[entry.session_id].analytics if entry.payload is not None else None
            self._near.keep(NearCopy(entry, analytics), began)
        return answers, {entry.session_id for entry in accepted}

    def _refresh(self, session_id: SessionId, entry: Entry) -> None:
        """Renews an entry in the background: a newer version than the one there is asked for, so the lease is given in spite of it."""
        keys = self._relay.keys_of(session_id)
        if keys is None:
            return
        miss = Miss(keys, entry.epoch)
        renew: Coroutine[Any, Any, Any] = self._refreshes.join(session_id, partial(self._load, session_id, entry.version + 1, miss))

        async def quietly() -> None:
            with suppress(StorageError):  # The entry is still good; the next reader tries again.
                await renew

        task = asyncio.create_task(quietly())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _past_redis(self, session_id: SessionId, freshness: Freshness, at_least: int | None) -> AnalyticsAnswer | None:
        """The truth's answer, not stored. A bounded read may share another's."""
        if freshness is Freshness.BOUNDED and at_least is None:
            return await self._truth.get_shared(session_id, self._near.read_begins().writes)
        return await self._truth.get(session_id)

    async def _stale(self, session_id: SessionId, at_least: int | None) -> AnalyticsAnswer | None:
        """What this process or Redis still has, heartbeat or not, if it is not too old."""
        keys = self._relay.keys_of(session_id)
        copy, source = self._near.held(session_id), "near"
        if copy is not None and not await self._ready(copy):
            copy = None
        if copy is None and keys is not None:
            values = await self._server.read([keys.entry(session_id)])
            entry = None if isinstance(values, Unavailable) or values[0] is None else unpack(values[0], session_id)
            if entry is not None:
                copy, source = NearCopy(entry, await self._codec.analytics(entry)), "redis"
        if copy is None or copy.entry.version < (at_least or 0) or self._codec.age_s(copy.entry) > self._policy.fail_safe_s:
            return None
        answer = self._answer(copy, source)
        if answer is None:
            return None
        self.stats.count("stale_answers")
        return answer._replace(stale=True)

    def _by_partition(self, session_ids: list[SessionId]) -> list[tuple[Keys | None, list[SessionId]]]:
        partitions = self._relay.partitions
        if len(partitions) < 2:
            return [(partitions[0] if partitions else None, session_ids)]
        return [(keys, [session_id for session_id in session_ids if keys.holds(session_id)]) for keys in partitions]

    async def _get_batch(self, keys: Keys | None, wanted: Sequence[SessionId]) -> dict[SessionId, AnalyticsAnswer]:
        began = self._near.read_begins()
        values: list[bytes | None] | Unavailable = Unavailable("not_in_step")
        if keys is not None:
            values = await self._server.read([*map(keys.entry, wanted), keys.heartbeat])
        epoch = None if isinstance(values, Unavailable) else values[-1]
        if keys is None or isinstance(values, Unavailable) or epoch is None:
            self.stats.bypassed(values.reason if isinstance(values, Unavailable) else "not_in_step", len(wanted))
            return await self._truth.get_many(wanted)
        answers: dict[SessionId, AnalyticsAnswer] = {}
        missing: list[SessionId] = []
        for session_id, value in zip(wanted, values[:-1], strict=True):
            entry = None if value is None else unpack(value, session_id)
            copy = await self._decoded(entry, began) if entry is not None and entry.epoch == epoch else None
            if copy is not None:
                self.stats.hit(copy.entry)
                answer = self._answer(copy, "redis")
                if answer is not None:
                    answers[session_id] = answer
                continue
            if value is not None and (entry is None or entry.epoch == epoch):
                await self._drop_damaged(session_id)
            missing.append(session_id)
        if missing:
            # What others are loading is loaded here too, and not stored: a batch waits for nobody.
            lease = await self._leases.acquire(keys, missing, epoch)
            loaded, _ = await self._load_and_fill(missing, lease, Miss(keys, epoch))
            answers |= loaded
        return answers

    async def _decoded(self, entry: Entry, began: ReadMoment) -> NearCopy | None:
        """The entry with its payload decoded, which then stays near; None if it cannot be decoded."""
        copy = self._near.same(entry) or NearCopy(entry, None)
        if not await self._ready(copy):
            return None
        self._near.keep(copy, began)
        return copy

    async def _ready(self, copy: NearCopy) -> bool:
        """Decodes a copy that so far was only passed on; False if it is no document of ours."""
        if copy.analytics is not None or copy.entry.payload is None:
            return True
        copy.analytics = await self._codec.analytics(copy.entry)
        return copy.analytics is not None

    def _answer(self, copy: NearCopy, source: str) -> AnalyticsAnswer | None:
        if copy.analytics is None:
            return None
        return AnalyticsAnswer(copy.analytics, copy.entry.version, source, self._codec.age_s(copy.entry))

    def _document(self, entry: Entry, source: str) -> DocumentAnswer | None:
        if entry.payload is None:
            return None
        return DocumentAnswer(entry.payload, entry.coding, entry.version, source, self._codec.age_s(entry))

    def _version(self, entry: Entry, source: str) -> VersionAnswer | None:
        if entry.payload is None:
            return None
        return VersionAnswer(entry.version, source, self._codec.age_s(entry))

    async def _invalidate(self, session_id: SessionId, version: int | None) -> bool:
        """Drops what is older than the version (None: anything), and voids the lease. Whether Redis acknowledged; if it did not, the relay
        brings it the news before it vouches for anything again."""
        keys = self._relay.keys_of(session_id)
        acknowledged = False
        if keys is not None:
            wanted = _WHATEVER_ITS_VERSION if version is None else version_text(version)
            names = keys.entries_and_leases([session_id])
            acknowledged = await self._server.run(self._scripts.invalidate, names, [self._policy.floor_ms, wanted]) == 1
        self.stats.invalidated(acknowledged)
        return acknowledged

    async def _drop_damaged(self, session_id: SessionId) -> None:
        """Drops what is no entry, or an entry that is no document; the next load is stored in its place."""
        self.stats.count("damaged")
        keys = self._relay.keys_of(session_id)
        if keys is not None:
            names = keys.entries_and_leases([session_id])
            await self._server.run(self._scripts.invalidate, names, [self._policy.floor_ms, _WHATEVER_ITS_VERSION])


async def _forget(client: redis.Redis, names: Sequence[str]) -> int:
    return await client.unlink(*names)
