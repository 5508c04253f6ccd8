"""The caching repository: this process's own copies first, then Redis, then another repository for the truth.

A read of Redis is one MGET of the entry and the heartbeat, shared with all reads of the same turn of the event loop. With a heartbeat and a
good entry of its epoch: a hit. Without a heartbeat: the truth answers, nothing is stored. On a miss one reader of all processes gets the
lease, loads and fills; the others wait for it a little. Every write voids the lease, so a slow reader cannot store what was overwritten
while it loaded.

Nothing Redis does or fails to do reaches a caller: it costs a read of the truth, never an answer.

To read on: single_reads.py decides what becomes of a read, lookup.py asks Redis, loading.py loads and fills, many_reads.py reads batches,
relay.py keeps the heartbeat, near.py the copies.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Final

from adapters import document
from adapters.redis_cache.answers import Answers
from adapters.redis_cache.codec import Codec
from adapters.redis_cache.entry import Entry
from adapters.redis_cache.inspection import Inspection
from adapters.redis_cache.keeping import Keeping
from adapters.redis_cache.leases import Leases
from adapters.redis_cache.loading import Loading
from adapters.redis_cache.lookup import Bypass, Lookup, Miss
from adapters.redis_cache.many_reads import ManyReads
from adapters.redis_cache.near import NearCache, NearCopy
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.sampler import StalenessSampler
from adapters.redis_cache.server import Exchanges
from adapters.redis_cache.single_reads import SingleReads
from adapters.redis_cache.stats import CacheStats
from adapters.redis_cache.truth import Truth
from domain.analytics import SessionAnalytics
from domain.errors import StorageError, StorageUnavailable
from domain.ports import AnalyticsAnswer, DeleteReceipt, DocumentAnswer, Freshness, SaveReceipt, SessionAnalyticsRepository, VersionAnswer
from domain.session import SessionId

_DAMAGED_MAX: Final = 2


class RedisCachedSessionAnalyticsRepository(SessionAnalyticsRepository):
    """Session analytics from a cache where that is safe, else from `inner`. `open` it before use and `aclose` it after.

    `stats` is what this process counted, `inspection` a look at the cache from outside.
    """

    def __init__(
        self,
        inner: SessionAnalyticsRepository,
        *,
        server: Exchanges,
        lookup: Lookup,
        relay: Relay,
        leases: Leases,
        codec: Codec,
        policy: CachePolicy,
        stats: CacheStats,
        near: NearCache,
        sampler: StalenessSampler,
    ) -> None:
        self._inner = inner
        self._server = server
        self._lookup = lookup
        self._relay = relay
        self._leases = leases
        self._policy = policy
        self._near = near
        self._truth = Truth(inner, policy, stats)
        self._answers = Answers(codec, near)
        self._loading = Loading(self._truth, leases, codec=codec, near=near, policy=policy, stats=stats)
        self._single = SingleReads(
            lookup, self._loading, self._truth, server=server, relay=relay, answers=self._answers, codec=codec, near=near, policy=policy,
            stats=stats,
        )  # fmt: skip
        self._many = ManyReads(
            lookup, self._loading, server=server, relay=relay, answers=self._answers, near=near, policy=policy, stats=stats
        )
        self._keeping = Keeping(relay, sampler, server, stats)
        self.stats = stats
        self.inspection = Inspection(server, relay, near, policy, stats)

    async def open(self, *, relays: bool = True) -> None:
        """Brings the cache in step with the truth, then keeps it so. Without Redis or the truth it opens all the same.

        `relays` False: others keep it in step, or nobody, and then it is read past.
        """
        await self._keeping.begin(relays=relays)

    async def aclose(self) -> None:
        """Ends the relay and what is under way, and closes the connections to Redis. `inner` belongs to the caller."""
        await self._keeping.end()
        await self._loading.aclose()
        await self._truth.aclose()
        await self._lookup.aclose()
        await self._leases.aclose()
        await self._keeping.share_counts()
        await self._server.aclose()

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """See the port."""
        began_s = self.stats.clock()
        if (
            freshness is Freshness.BOUNDED
            and (copy := self._near.trusted(session_id, at_least)) is not None
            and (copy.analytics is not None or await self._answers.ready(copy))
        ):
            self.stats.near_hit(session_id, began_s)
            return self._answers.analytics(copy, "near")
        for _ in range(_DAMAGED_MAX):
            began = self._near.read_begins()
            looked = await self._lookup.look_up(session_id, at_least)
            found = looked if isinstance(looked, (NearCopy, Entry)) else await self._single.go_on(looked, session_id, at_least)
            match found:
                case NearCopy() as copy:
                    self._single.hit(copy.entry, followed=found is not looked)
                    if copy.analytics is not None or await self._answers.ready(copy):
                        self._near.confirm(copy, began)
                        self.stats.took("redis", began_s)
                        return self._answers.analytics(copy, "redis")
                    self._near.drop(session_id)
                    await self._lookup.drop_damaged(session_id)
                case Entry() as entry:
                    self._single.hit(entry, followed=found is not looked)
                    if (decoded := await self._answers.decoded(entry, began)) is not None:
                        self.stats.took("redis", began_s)
                        return self._answers.analytics(decoded, "redis")
                    await self._lookup.drop_damaged(session_id)
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
            return self._answers.document(copy.entry, "near")
        began = self._near.read_begins()
        looked = await self._lookup.look_up(session_id, at_least)
        found = looked if isinstance(looked, (NearCopy, Entry)) else await self._single.go_on(looked, session_id, at_least)
        match found:
            case NearCopy() as copy:
                self._single.hit(copy.entry, followed=found is not looked)
                self._near.confirm(copy, began)
                self.stats.took("redis", began_s)
                return self._answers.document(copy.entry, "redis")
            case Entry() as entry:
                self._single.hit(entry, followed=found is not looked)
                self.stats.took("redis", began_s)
                self._near.keep(self._near.same(entry) or NearCopy(entry, None), began)
                return self._answers.document(entry, "redis")
            case None:
                return None
            case answer:
                return document.of_answer(answer)

    async def get_version(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> VersionAnswer | None:
        """See the port. Where a copy is near, Redis is asked for the header alone; what is missing is filled, as by any read."""
        began_s = self.stats.clock()
        if freshness is Freshness.BOUNDED and (copy := self._near.trusted(session_id, at_least)) is not None:
            self.stats.near_hit(session_id, began_s)
            return self._answers.version(copy.entry, "near")
        began = self._near.read_begins()
        looked = await self._lookup.look_up(session_id, at_least)
        found = await self._single.go_on(looked, session_id, at_least) if isinstance(looked, Miss) else looked
        match found:
            case NearCopy() as copy:
                self._single.hit(copy.entry, followed=found is not looked)
                self.stats.took("redis", began_s)
                self._near.confirm(copy, began)
                return self._answers.version(copy.entry, "redis")
            case Entry() as entry:
                self._single.hit(entry, followed=found is not looked)
                self.stats.took("redis", began_s)
                self._near.keep(self._near.same(entry) or NearCopy(entry, None), began)
                return self._answers.version(entry, "redis")
            case Bypass(reason):
                self.stats.bypassed(reason)
                try:
                    return await self._truth.get_version(session_id)
                except StorageUnavailable:
                    if self._policy.fail_safe_s <= 0 or (stale := await self._single.stale(session_id, at_least)) is None:
                        raise
                    return VersionAnswer(stale.version, stale.source, stale.age_s, stale=True)
            case None:
                return None
            case answer:
                return VersionAnswer(answer.version, answer.source, answer.age_s, answer.stale)

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        """See the port."""
        return await self._many.read(session_ids, freshness)

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

    async def forget(self, session_id: SessionId) -> bool:
        """Drops a session's entry and copy, whatever its version; the next read asks the truth. False if Redis did not acknowledge."""
        self._near.drop(session_id)
        return await self._invalidate(session_id, None)

    async def forget_everything(self) -> bool:
        """Begins a new epoch: every entry is a miss from now on. False if Redis did not acknowledge."""
        self._near.clear()
        return await self._relay.begin_anew()

    async def _invalidate(self, session_id: SessionId, version: int | None) -> bool:
        """Whether Redis acknowledged; if it did not, the relay brings it the news before it vouches for anything again."""
        keys = self._relay.keys_of(session_id)
        acknowledged = keys is not None and await self._leases.invalidate(keys, session_id, version)
        self.stats.invalidated(acknowledged)
        return acknowledged
