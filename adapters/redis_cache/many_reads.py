"""How many sessions are read at once: what is near, then one MGET of a partition, then one load of all that is missing there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from adapters.redis_cache.answers import Answers
from adapters.redis_cache.entry import unpack
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.leases import Leases
from adapters.redis_cache.loading import Loading
from adapters.redis_cache.lookup import Lookup, Miss
from adapters.redis_cache.near import NearCache
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.server import CacheServer, Unavailable
from adapters.redis_cache.stats import CacheStats
from adapters.redis_cache.truth import Truth
from domain.ports import AnalyticsAnswer, Freshness
from domain.session import SessionId


class ManyReads:
    """Reads batches. A batch waits for nobody: what others are loading is loaded here too, and not stored."""

    def __init__(
        self,
        lookup: Lookup,
        loading: Loading,
        truth: Truth,
        *,
        server: CacheServer,
        relay: Relay,
        leases: Leases,
        answers: Answers,
        near: NearCache,
        policy: CachePolicy,
        stats: CacheStats,
    ) -> None:
        self._lookup = lookup
        self._loading = loading
        self._truth = truth
        self._server = server
        self._relay = relay
        self._leases = leases
        self._answers = answers
        self._near = near
        self._policy = policy
        self._stats = stats

    async def read(self, session_ids: Collection[SessionId], freshness: Freshness) -> dict[SessionId, AnalyticsAnswer]:
        """Batches of `policy.batch_max` sessions of a partition, each one MGET; what is missing is one read of the truth."""
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
        for keys, sessions in self._by_partition(asked):
            for start in range(0, len(sessions), self._policy.batch_max):
                answers |= await self._read_batch(keys, sessions[start : start + self._policy.batch_max])
        return {session_id: answers[session_id] for session_id in wanted if session_id in answers}

    def _by_partition(self, session_ids: list[SessionId]) -> list[tuple[Keys | None, list[SessionId]]]:
        partitions = self._relay.partitions
        if len(partitions) < 2:
            return [(partitions[0] if partitions else None, session_ids)]
        return [(keys, [session_id for session_id in session_ids if keys.holds(session_id)]) for keys in partitions]

    async def _read_batch(self, keys: Keys | None, wanted: Sequence[SessionId]) -> dict[SessionId, AnalyticsAnswer]:
        began = self._near.read_begins()
        values: list[bytes | None] | Unavailable = Unavailable("not_in_step")
        if keys is not None:
            values = await self._server.read([*map(keys.entry, wanted), keys.heartbeat])
        epoch = None if isinstance(values, Unavailable) else values[-1]
        if keys is None or isinstance(values, Unavailable) or epoch is None:
            self._stats.bypassed(values.reason if isinstance(values, Unavailable) else "not_in_step", len(wanted))
            return await self._truth.get_many(wanted)
        answers: dict[SessionId, AnalyticsAnswer] = {}
        missing: list[SessionId] = []
        for session_id, value in zip(wanted, values[:-1], strict=True):
            entry = None if value is None else unpack(value, session_id)
            copy = await self._answers.decoded(entry, began) if entry is not None and entry.epoch == epoch else None
            if copy is not None:
                self._stats.hit(copy.entry)
                answer = self._answers.analytics(copy, "redis")
                if answer is not None:
                    answers[session_id] = answer
                continue
            if value is not None and (entry is None or entry.epoch == epoch):
                await self._lookup.drop_damaged(session_id)
            missing.append(session_id)
        if missing:
            lease = await self._leases.acquire(keys, missing, epoch)
            loaded, _ = await self._loading.load_and_fill(missing, lease, Miss(keys, epoch))
            answers |= loaded
        return answers
