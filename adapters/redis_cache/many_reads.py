"""How many sessions are read at once: what is near, then an MGET of every partition, then one load of all that is missing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from adapters.redis_cache.answers import Answers
from adapters.redis_cache.entry import unpack
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.loading import Loading
from adapters.redis_cache.lookup import Lookup, Miss
from adapters.redis_cache.near import NearCache
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.server import Exchanges, Unavailable
from adapters.redis_cache.stats import CacheStats
from adapters.redis_cache.together import together
from domain.ports import AnalyticsAnswer, Freshness
from domain.session import SessionId


@dataclass(frozen=True, slots=True)
class _Found:
    """Of one partition: what Redis answered, what is left for the truth, and where that may be stored; None: nowhere, it is a bypass."""

    answers: dict[SessionId, AnalyticsAnswer]
    missing: list[SessionId]
    miss: Miss | None


class ManyReads:
    """Reads batches. However many partitions a batch touches, the truth is asked once for all that is missing."""

    def __init__(
        self,
        lookup: Lookup,
        loading: Loading,
        *,
        server: Exchanges,
        relay: Relay,
        answers: Answers,
        near: NearCache,
        policy: CachePolicy,
        stats: CacheStats,
    ) -> None:
        self._lookup = lookup
        self._loading = loading
        self._server = server
        self._relay = relay
        self._answers = answers
        self._near = near
        self._policy = policy
        self._stats = stats

    async def read(self, session_ids: Collection[SessionId], freshness: Freshness) -> dict[SessionId, AnalyticsAnswer]:
        """So many at a time as `policy.batch_max` says: one MGET of each partition, all at once, and one read of the truth."""
        wanted = list(dict.fromkeys(session_ids))
        answers: dict[SessionId, AnalyticsAnswer] = {}
        asked: list[SessionId] = []
        for session_id in wanted:
            copy = self._near.trusted(session_id, None) if freshness is Freshness.BOUNDED else None
            if copy is None or not await self._answers.ready(copy):
                asked.append(session_id)
                continue
            self._stats.near_hit(session_id, None)
            answer = self._answers.analytics(copy, "near")
            if answer is not None:
                answers[session_id] = answer
        for start in range(0, len(asked), self._policy.batch_max):
            answers |= await self._read_batch(asked[start : start + self._policy.batch_max])
        return {session_id: answers[session_id] for session_id in wanted if session_id in answers}

    async def _read_batch(self, wanted: list[SessionId]) -> dict[SessionId, AnalyticsAnswer]:
        found = await together([self._from_redis(keys, session_ids) for keys, session_ids in self._by_partition(wanted)])
        answers = {session_id: answer for part in found for session_id, answer in part.answers.items()}
        missing = [(part.miss, part.missing) for part in found if part.miss is not None and part.missing]
        past_redis = [session_id for part in found if part.miss is None for session_id in part.missing]
        if missing or past_redis:
            answers |= await self._loading.load_many(missing, past_redis)
        return answers

    def _by_partition(self, session_ids: list[SessionId]) -> list[tuple[Keys | None, list[SessionId]]]:
        partitions = self._relay.partitions
        if len(partitions) < 2:
            return [(partitions[0] if partitions else None, session_ids)]
        parts = [(keys, [session_id for session_id in session_ids if keys.holds(session_id)]) for keys in partitions]
        return [(keys, found) for keys, found in parts if found]

    async def _from_redis(self, keys: Keys | None, wanted: list[SessionId]) -> _Found:
        """What Redis has of these sessions of a partition, and what is missing there."""
        began = self._near.read_begins()
        values: list[bytes | None] | Unavailable = Unavailable("not_in_step")
        if keys is not None:
            values = await self._server.read([*map(keys.entry, wanted), keys.heartbeat])
        epoch = None if isinstance(values, Unavailable) else values[-1]
        if keys is None or isinstance(values, Unavailable) or epoch is None:
            self._stats.bypassed(values.reason if isinstance(values, Unavailable) else "not_in_step", len(wanted))
            return _Found({}, wanted, None)
        found = _Found({}, [], Miss(keys, epoch))
        for session_id, value in zip(wanted, values[:-1], strict=True):
            entry = None if value is None else unpack(value, session_id)
            copy = await self._answers.decoded(entry, began) if entry is not None and entry.epoch == epoch else None
            if copy is not None:
                self._stats.hit(copy.entry)
                answer = self._answers.analytics(copy, "redis")
                if answer is not None:
                    found.answers[session_id] = answer
                continue
            if value is not None and (entry is None or entry.epoch == epoch):
                await self._lookup.drop_damaged(session_id)
            found.missing.append(session_id)
        return found
