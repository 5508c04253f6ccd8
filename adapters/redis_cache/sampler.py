"""Looks whether the promise is kept: compares what would be served now with the truth's versions, for a few sessions hit lately.

An entry is outdated for a moment after every write made elsewhere; the bound says how long that may last. What is measured is a lower bound
of it: from when the truth was seen to have a newer version until the last time the older one would have been served. So what is reported as
staler than promised is so, whatever the machine was busy with; how long before the first look it began is not known.

Only headers are read, and nothing is mended here: that is the relay's work, and what is looked for are its failures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import redis.asyncio as redis
import structlog

from adapters.redis_cache.entry import HEADER_BYTES, version_and_epoch
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.near import NearCache
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.server import Exchanges, Unavailable
from adapters.redis_cache.stats import CacheStats
from domain.errors import StorageError
from domain.ports import ChangeFeed
from domain.session import SessionId

# Looked at again in every look, so they are bounded, however much is wrong.
_SUSPECTS_MAX: Final = 150
_LOOKS_PER_BOUND: Final = 4


_Where = tuple[Literal["near", "redis"], SessionId]


@dataclass(frozen=True, slots=True)
class _Newer:
    """What the truth was seen to have, and when."""

    version: int
    seen_s: float


class StalenessSampler:
    """Makes one look at a time; its owner calls for one every `pause_s`."""

    def __init__(
        self,
        feed: ChangeFeed,
        server: Exchanges,
        near: NearCache,
        policy: CachePolicy,
        stats: CacheStats,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._server = server
        self._near = near
        self._stats = stats
        self._clock = clock
        self._every_s = policy.sampler_s
        self._again_s = policy.heartbeat_s / _LOOKS_PER_BOUND
        # A copy in the process may be older than Redis by the time it is trusted.
        self._bound_s: dict[str, float] = {"redis": policy.heartbeat_s, "near": policy.heartbeat_s + policy.near_trust_s}
        self._suspects: dict[_Where, _Newer] = {}
        self._beyond = False
        self._log = structlog.get_logger(__name__)
        self.stale_age_s = 0.0
        """How long the most outdated of what would have been served at the last look had been so; 0 normally."""
        stats.gauge("stale_age_s", lambda: self.stale_age_s)

    def pause_s(self) -> float | None:
        """How long to wait before the next look: what is outdated is looked at again soon. None: never look."""
        if self._every_s == 0:
            return None
        return min(self._every_s, self._again_s) if self._suspects else self._every_s

    async def look(self, *partitions: Keys) -> None:
        """One look at all partitions. Where Redis or the truth cannot be asked, there is nothing to compare."""
        session_ids = {*self._stats.recent, *(session_id for _, session_id in self._suspects)}
        if session_ids:
            await self._compare(partitions, list(session_ids))

    async def _compare(self, partitions: Sequence[Keys], session_ids: Sequence[SessionId]) -> None:
        try:
            versions = await self._feed.versions_of(session_ids)
        except StorageError:
            return
        # In this order: whatever is served from now on can be held to what the truth had before.
        now_s = self._clock()
        believed: dict[SessionId, int] = {}
        for keys in partitions:
            found = await self._believed(keys, [session_id for session_id in session_ids if keys.holds(session_id)])
            if isinstance(found, Unavailable):
                return
            believed |= found
        copies = {session_id: self._near.trusted(session_id, None) for session_id in session_ids}
        near = {session_id: copy.entry.version for session_id, copy in copies.items() if copy is not None}
        served: list[tuple[_Where, int]] = [(("redis", session_id), version) for session_id, version in believed.items()]
        served += [(("near", session_id), version) for session_id, version in near.items()]
        suspects: dict[_Where, _Newer] = {}
        longest_s, beyond = 0.0, False
        for where, version in served:
            if version == 0:
                continue  # That there was nothing is remembered without a version, and cannot be compared.
            newer = self._newer(where, version, versions.get(where[1], 0), now_s)
            if newer is None:
                self._stats.compared(None, self._bound_s[where[0]])
                continue
            if len(suspects) < _SUSPECTS_MAX:
                suspects[where] = newer
            outdated_s = now_s - newer.seen_s
            self._stats.compared(outdated_s, self._bound_s[where[0]])
            longest_s, beyond = max(longest_s, outdated_s), beyond or outdated_s > self._bound_s[where[0]]
        self._suspects, self.stale_age_s = suspects, longest_s
        if beyond is not self._beyond:
            self._beyond = beyond
            if beyond:
                self._log.error("cache_staler_than_promised", stale_age_s=round(longest_s, 3))
            else:
                self._log.info("cache_as_fresh_as_promised")

    def _newer(self, where: _Where, version: int, newest: int, now_s: float) -> _Newer | None:
        """Since when the truth is known to have something newer than what is served; None if it has not."""
        known = self._suspects.get(where)
        # Not known any more if what is served was renewed, or if the truth itself went back, as after a restore.
        if known is not None and version < known.version <= newest:
            return known
        return _Newer(newest, now_s) if version < newest else None

    async def _believed(self, keys: Keys, session_ids: Sequence[SessionId]) -> dict[SessionId, int] | Unavailable:
        """The versions that a read would be answered with by Redis, all of a partition at one moment."""

        async def headers(client: redis.Redis) -> list[Any]:
            async with client.pipeline(transaction=True) as pipeline:
                for session_id in session_ids:
                    pipeline.getrange(keys.entry(session_id), 0, HEADER_BYTES - 1)
                pipeline.get(keys.heartbeat)
                return await pipeline.execute(raise_on_error=False)  # A key of another type is no entry.

        found = await self._server.on(keys.heartbeat, headers)
        if isinstance(found, Unavailable):
            return found
        *values, epoch = found
        told = {
            session_id: version_and_epoch(value, session_id)
            for session_id, value in zip(session_ids, values, strict=True)
            if isinstance(value, bytes)
        }
        return {session_id: header[0] for session_id, header in told.items() if header is not None and header[1] == epoch}
