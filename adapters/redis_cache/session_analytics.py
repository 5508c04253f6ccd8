"""The caching repository: a repository that asks Redis first and another repository for the truth.

A read is one MGET of the entry and the heartbeat. With a heartbeat and a good entry of its epoch: a hit. Without a heartbeat: the truth
answers, nothing is stored. On a miss one reader gets the lease, loads and fills; the others wait for it a little. Every write voids the
lease, so a slow reader cannot store what was overwritten while it loaded. relay.py says what keeps the heartbeat.

Nothing Redis does or fails to do reaches a caller: it costs a read of the truth, never an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, assert_never

from adapters import document
from adapters.redis_cache.codec import Codec
from adapters.redis_cache.entry import Entry, unpack, version_text
from adapters.redis_cache.inspection import CacheContents, CacheHealth, look_at_contents, look_at_health
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.leases import Lease, Leases
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.server import CacheServer, Scripts, Unavailable
from adapters.redis_cache.stats import CacheStats
from domain.analytics import SessionAnalytics
from domain.errors import StorageError
from domain.ports import AnalyticsAnswer, DeleteReceipt, DocumentAnswer, Freshness, SaveReceipt, SessionAnalyticsRepository
from domain.session import SessionId

# Of a damaged entry not even the version can be trusted.
_WHATEVER_ITS_VERSION: Final = b""


@dataclass(frozen=True, slots=True)
class Hit:
    """Redis has it, and may be believed."""

    keys: Keys
    entry: Entry


@dataclass(frozen=True, slots=True)
class Miss:
    """Redis does not have it, or too old a version; what is loaded now may be stored under this epoch."""

    keys: Keys
    epoch: bytes


@dataclass(frozen=True, slots=True)
class Bypass:
    """Redis cannot be used now. Not a miss: nothing is stored, nobody waits."""

    reason: str


Outcome = Hit | Miss | Bypass


class RedisCachedSessionAnalyticsRepository(SessionAnalyticsRepository):
    """Session analytics from Redis where that is safe, else from `inner`. `open` it before use and `aclose` it after."""

    def __init__(
        self,
        inner: SessionAnalyticsRepository,
        *,
        server: CacheServer,
        scripts: Scripts,
        relay: Relay,
        leases: Leases,
        codec: Codec,
        policy: CachePolicy,
        stats: CacheStats,
    ) -> None:
        self._inner = inner
        self._server = server
        self._scripts = scripts
        self._relay = relay
        self._leases = leases
        self._codec = codec
        self._policy = policy
        self._keeping_in_step: asyncio.Task[None] | None = None
        self.stats = stats

    async def open(self) -> None:
        """Brings the cache in step with the truth, then keeps it so. Without Redis or the truth it opens all the same."""
        await self._relay.catch_up(unless_fresh=True)
        self._keeping_in_step = asyncio.create_task(self._keep_in_step(), name="cache relay")

    async def aclose(self) -> None:
        """Ends the relay and closes the connections to Redis. `inner` belongs to the caller."""
        if self._keeping_in_step is not None:
            self._keeping_in_step.cancel()
            await asyncio.wait([self._keeping_in_step])
        await self._leases.aclose()
        if self._relay.keys is not None:
            await self.stats.share(self._server, self._relay.keys)
        await self._server.aclose()

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """See the port."""
        match await self._look_up(session_id, at_least):
            case Hit(_, entry) if entry.payload is None:
                self.stats.hit(entry)
                return None
            case Hit(keys, entry):
                answer = self._codec.answer(entry)
                if answer is None:
                    return await self._load(session_id, at_least, await self._drop_damaged(keys, session_id, entry.epoch))
                self.stats.hit(entry)
                return answer
            case Miss() as miss:
                return await self._load(session_id, at_least, miss)
            case Bypass(reason):
                self.stats.bypassed(reason)
                return await self._inner.get(session_id, freshness=freshness, at_least=at_least)
            case outcome:
                assert_never(outcome)

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        """See the port. A hit passes the stored bytes on as they are."""
        match await self._look_up(session_id, at_least):
            case Hit(_, entry):
                self.stats.hit(entry)
                return self._codec.document(entry)
            case Miss() as miss:
                answer = await self._load(session_id, at_least, miss)
            case Bypass(reason):
                self.stats.bypassed(reason)
                return await self._inner.get_document(session_id, freshness=freshness, at_least=at_least)
            case outcome:
                assert_never(outcome)
        if answer is None:
            return None
        return DocumentAnswer(document.encode(answer.analytics), "identity", answer.version, answer.source, answer.age_s)

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        """See the port. Batches of `policy.batch_max` sessions, each one MGET; what is missing is one read of `inner`."""
        wanted = list(dict.fromkeys(session_ids))
        answers: dict[SessionId, AnalyticsAnswer] = {}
        for start in range(0, len(wanted), self._policy.batch_max):
            answers |= await self._get_batch(wanted[start : start + self._policy.batch_max], freshness)
        return {session_id: answers[session_id] for session_id in wanted if session_id in answers}

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        """See the port. Afterwards the analytics are in Redis, by the way every read takes: to store what was just written would be unsafe,
        because a newer write's invalidation may already have passed."""
        receipt = await self._inner.save(analytics)
        # Also if nothing changed: whoever wrote this version may have died before telling Redis.
        fresh = receipt.fresh and await self._invalidate(analytics.session_id, receipt.version)
        if fresh:
            with suppress(StorageError):  # The write stands, whatever becomes of the reading.
                await self.get(analytics.session_id, at_least=receipt.version)
        return SaveReceipt(receipt.version, receipt.changed, fresh)

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        """See the port."""
        receipt = await self._inner.delete(session_id)
        if receipt is None:
            return None
        return DeleteReceipt(receipt.version, fresh=receipt.fresh and await self._invalidate(session_id, receipt.version))

    async def health(self) -> CacheHealth:
        """How the cache does now."""
        return await look_at_health(self._server, self._relay.keys, self._policy)

    async def contents(self) -> CacheContents | Unavailable:
        """What is stored, and what all processes counted; with this process's counts added first."""
        keys = self._relay.keys
        if keys is None:
            return Unavailable("not_in_step")
        await self.stats.share(self._server, keys)
        return await look_at_contents(self._server, keys)

    async def _keep_in_step(self) -> None:
        while True:
            await asyncio.sleep(self._relay.pause_s())
            await self._relay.catch_up(unless_fresh=True)
            if self._relay.keys is not None:
                await self.stats.share(self._server, self._relay.keys)

    async def _look_up(self, session_id: SessionId, at_least: int | None) -> Outcome:
        keys = self._relay.keys
        if keys is None:
            return Bypass("not_in_step")
        values = await self._server.read([keys.entry(session_id), keys.heartbeat])
        if isinstance(values, Unavailable):
            return Bypass(values.reason)
        value, epoch = values
        if epoch is None:
            return Bypass("not_in_step")
        if value is None:
            return Miss(keys, epoch)
        entry = unpack(value, session_id)
        if entry is None:
            return await self._drop_damaged(keys, session_id, epoch)
        if entry.epoch != epoch or entry.version < (at_least or 0):
            return Miss(keys, epoch)
        return Hit(keys, entry)

    async def _load(self, session_id: SessionId, at_least: int | None, miss: Miss) -> AnalyticsAnswer | None:
        """Loads and fills under the lease; or waits for whoever has it, a bounded time, and then loads without filling."""
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._policy.follow_s_max
        while clock() < give_up_at:
            lease = await self._leases.acquire(miss.keys, [session_id], miss.epoch, at_least or 0)
            match lease.grants[session_id]:
                case "lease":  # We were chosen; everybody else waits for us.
                    return (await self._load_and_fill([session_id], lease, miss)).get(session_id)
                case "hit":
                    outcome = await self._look_up(session_id, at_least)
                    if isinstance(outcome, Hit):
                        answer = self._codec.answer(outcome.entry)
                        if answer is not None or outcome.entry.payload is None:
                            self.stats.count("followed")
                            return answer
                    if not isinstance(outcome, Miss):
                        break
                    miss = outcome
                case "busy":
                    await asyncio.sleep(self._policy.follow_poll_s)
                case "unavailable":
                    break
        self.stats.count("misses")
        return await self._inner.get(session_id, freshness=Freshness.FRESH, at_least=at_least)

    async def _get_batch(self, wanted: Sequence[SessionId], freshness: Freshness) -> dict[SessionId, AnalyticsAnswer]:
        keys = self._relay.keys
        values: list[bytes | None] | Unavailable = Unavailable("not_in_step")
        if keys is not None:
            values = await self._server.read([*map(keys.entry, wanted), keys.heartbeat])
        epoch = None if isinstance(values, Unavailable) else values[-1]
        if keys is None or isinstance(values, Unavailable) or epoch is None:
            self.stats.bypassed(values.reason if isinstance(values, Unavailable) else "not_in_step", len(wanted))
            return await self._inner.get_many(wanted, freshness=freshness)
        answers: dict[SessionId, AnalyticsAnswer] = {}
        missing: list[SessionId] = []
        for session_id, value in zip(wanted, values[:-1], strict=True):
            entry = None if value is None else unpack(value, session_id)
            answer = None if entry is None else self._codec.answer(entry)
            if value is not None and answer is None and (entry is None or entry.payload is not None):
                await self._drop_damaged(keys, session_id, epoch)
                missing.append(session_id)
            elif entry is None or entry.epoch != epoch:
                missing.append(session_id)
            else:
                self.stats.hit(entry)
                if answer is not None:
                    answers[session_id] = answer
        if missing:
            # What others are loading is loaded here too, and not stored: a batch waits for nobody.
            lease = await self._leases.acquire(keys, missing, epoch)
            answers |= await self._load_and_fill(missing, lease, Miss(keys, epoch))
        return answers

    async def _load_and_fill(self, session_ids: Sequence[SessionId], lease: Lease, miss: Miss) -> dict[SessionId, AnalyticsAnswer]:
        self.stats.count("misses", len(session_ids))
        unused = lease.held
        try:
            # Begun after the lease was granted, so it sees every write that did not void the lease.
            if len(session_ids) == 1:
                answer = await self._inner.get(session_ids[0], freshness=Freshness.FRESH)
                answers = {} if answer is None else {session_ids[0]: answer}
            else:
                answers = await self._inner.get_many(session_ids, freshness=Freshness.FRESH)
            entries = [self._codec.entry(session_id, answers.get(session_id), miss.epoch) for session_id in unused]
            storable = [entry for entry in entries if entry is not None]
            if storable:
                self.stats.filled(storable, await self._leases.fill(miss.keys, lease, storable))
            unused = [session_id for session_id, entry in zip(unused, entries, strict=True) if entry is None]
            self.stats.count("too_large", len(unused))
            return answers
        finally:
            if unused:  # Too large, failed or cancelled: others need not wait for the leases to end.
                self._leases.give_back(miss.keys, lease, unused)

    async def _invalidate(self, session_id: SessionId, version: int) -> bool:
        """Whether Redis acknowledged. If it did not, the relay brings it the news before it vouches for anything again."""
        keys = self._relay.keys
        acknowledged = False
        if keys is not None:
            names = keys.entries_and_leases([session_id])
            acknowledged = await self._server.run(self._scripts.invalidate, names, [version_text(version)]) == 1
        self.stats.invalidated(acknowledged)
        return acknowledged

    async def _drop_damaged(self, keys: Keys, session_id: SessionId, epoch: bytes) -> Miss:
        """Drops what is no entry, or an entry that is no document; what is loaded instead is stored in its place."""
        self.stats.count("damaged")
        await self._server.run(self._scripts.invalidate, keys.entries_and_leases([session_id]), [_WHATEVER_ITS_VERSION])
        return Miss(keys, epoch)
