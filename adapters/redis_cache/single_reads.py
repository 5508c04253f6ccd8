"""How one session is read when no copy in the process may answer: Redis, else a load, else the truth, else something stale."""

from __future__ import annotations

import asyncio
from typing import assert_never

from adapters.redis_cache.answers import Answers
from adapters.redis_cache.codec import Codec
from adapters.redis_cache.entry import Entry, unpack
from adapters.redis_cache.loading import Loaded, Loading, NotOurs
from adapters.redis_cache.lookup import Bypass, Hit, Lookup, Miss, Outcome
from adapters.redis_cache.near import NearCache, NearCopy
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.server import Exchanges, Unavailable
from adapters.redis_cache.stats import CacheStats
from adapters.redis_cache.truth import Truth
from domain.errors import StorageUnavailable
from domain.ports import AnalyticsAnswer
from domain.session import SessionId


class SingleReads:
    """What the cache *does* is the one `match` in `_go_on`; the parts answer questions and decide nothing."""

    def __init__(
        self,
        lookup: Lookup,
        loading: Loading,
        truth: Truth,
        *,
        server: Exchanges,
        relay: Relay,
        answers: Answers,
        codec: Codec,
        near: NearCache,
        policy: CachePolicy,
        stats: CacheStats,
    ) -> None:
        self._lookup = lookup
        self._loading = loading
        self._truth = truth
        self._server = server
        self._relay = relay
        self._answers = answers
        self._codec = codec
        self._near = near
        self._policy = policy
        self._stats = stats

    def hit(self, entry: Entry, *, followed: bool) -> None:
        """A read is answered with this entry of Redis, at once or after another reader had filled. Near its end it is renewed."""
        self._stats.hit(entry, followed=followed)
        if self._codec.wants_refresh(entry) and (keys := self._relay.keys_of(entry.session_id)) is not None:
            self._loading.refresh(keys, entry)

    async def go_on(self, found: Miss | Bypass, session_id: SessionId, at_least: int | None) -> Hit | AnalyticsAnswer | None:
        """After a look that found nothing: what Redis has by then, or an answer of the truth; if the truth fails, a stale answer where that
        is allowed."""
        try:
            return await self._go_on(found, session_id, at_least)
        except StorageUnavailable:
            stale = await self.stale(session_id, at_least) if self._policy.fail_safe_s > 0 else None
            if stale is None:
                raise
            return stale

    async def stale(self, session_id: SessionId, at_least: int | None) -> AnalyticsAnswer | None:
        """What this process or Redis still has, heartbeat or not, if it is not too old."""
        keys = self._relay.keys_of(session_id)
        copy, source = self._near.held(session_id), "near"
        if copy is not None and not await self._answers.ready(copy):
            copy = None
        if copy is None and keys is not None:
            values = await self._server.read([keys.entry(session_id)])
            entry = None if isinstance(values, Unavailable) or values[0] is None else unpack(values[0], session_id)
            if entry is not None:
                copy, source = NearCopy(entry, await self._codec.analytics(entry)), "redis"
        if copy is None or copy.entry.version < (at_least or 0) or self._codec.age_s(copy.entry) > self._policy.fail_safe_s:
            return None
        answer = self._answers.analytics(copy, source)
        if answer is None:
            return None
        self._stats.count("stale_answers")
        return answer._replace(stale=True)

    async def _go_on(self, found: Outcome, session_id: SessionId, at_least: int | None) -> Hit | AnalyticsAnswer | None:
        give_up_at: float | None = None
        while True:
            match found:
                case Entry() | NearCopy():
                    return found
                case Miss() as miss if give_up_at is None or _now_s() < give_up_at:
                    give_up_at = give_up_at or _now_s() + self._policy.follow_s_max
                    landed = await self._loading.join(session_id, at_least or 0, miss)
                    match landed.result:
                        # A load that had begun before we came tells us enough only if Redis accepted it.
                        case Loaded(answer) if not landed.joined:
                            return answer
                        case Loaded(answer, version, accepted=True) if version >= (at_least or 0):
                            self._stats.count("coalesced")
                            return answer
                        case NotOurs("busy"):  # Another process was chosen; we wait for it.
                            await asyncio.sleep(self._policy.follow_poll_s)
                        case NotOurs("unavailable"):
                            return await self._truth.get(session_id)
                case Miss():
                    return await self._truth.get(session_id)
                case Bypass(reason):
                    self._stats.bypassed(reason)
                    return await self._truth.get(session_id)
                case _:
                    assert_never(found)
            found = await self._lookup.look_up(session_id, at_least)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
