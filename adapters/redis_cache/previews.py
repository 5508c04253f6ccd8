"""Previews of signals in Redis, for all processes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from adapters.ending import end
from adapters.redis_cache import preview_format
from adapters.redis_cache.address import server_at
from adapters.redis_cache.keys import check_prefix
from adapters.redis_cache.lua import Script
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.server import Exchanges, Unavailable
from adapters.redis_cache.stats import CacheStats
from domain.errors import InvalidSettings
from domain.ports import SignalPreviews
from domain.session import SessionId
from domain.signals import PREVIEW_S_MAX, SignalPreview

_ERASURES_OWED_MAX: Final = 10_000
# As long as a breaker may stay open, and a little.
_LAST_TRY_S: Final = 2.0
_LAST_PAUSE_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPolicy:
    """How long previews live, and how much there may be of them."""

    ttl_s: float = 3600.0
    session_previews_max: int = 64
    preview_bytes_max: int = 200_000
    erased_s: float = 15 * 60.0
    """An erasure is remembered for this long, which must exceed the making of a preview by far: see docs/adr/0012."""
    retry_s: float = 1.0
    """If Redis does not answer an erasure, it is told again so often."""

    def __post_init__(self) -> None:
        if min(self.ttl_s, self.session_previews_max, self.preview_bytes_max, self.retry_s) <= 0:
            raise InvalidSettings("the bounds of previews must be above 0")
        if self.erased_s < 2 * PREVIEW_S_MAX:
            raise InvalidSettings(f"an erasure must be remembered for {2 * PREVIEW_S_MAX:g} s at least")


class RedisSignalPreviews(SignalPreviews):
    """One hash a session, with a field for each preview, which never changes.

    So none of what guards the session analytics is needed: an entry cannot be out of date, and whom it may be shown to is decided before it
    is looked for. What remains is erasure. It removes the hash and leaves a mark, which outlasts every preview that is being made, and
    forbids to keep them. If Redis does not answer, the erasure is owed, and told again until it does; previews end by themselves after
    `ttl_s` in any case.
    """

    def __init__(self, server: Exchanges, key_prefix: str, policy: PreviewPolicy) -> None:
        check_prefix(key_prefix)
        self._server = server
        self._prefix = key_prefix
        self._policy = policy
        self._keep = Script("keep_preview", lambda answer, _: answer in (0, 1))
        self._erase = Script("erase_previews", lambda answer, _: answer == 1)
        self._owed: set[SessionId] = set()
        self._paying: asyncio.Task[None] | None = None

    async def find(self, session_id: SessionId, key: str) -> SignalPreview | None:
        """See the port. What is damaged is as if it were not there."""
        if session_id in self._owed:
            return None
        name = self._keys(session_id)[0]
        found = await self._server.on(name, lambda client: _field(client, name, key))
        return preview_format.decode(found, key) if isinstance(found, bytes) else None

    async def keep(self, session_id: SessionId, preview: SignalPreview) -> None:
        """See the port. One that is too large is not kept."""
        data = preview_format.encode(preview)
        if len(data) > self._policy.preview_bytes_max or session_id in self._owed:
            return
        arguments: list[bytes | str | int] = [preview.key, data, round(self._policy.ttl_s * 1000), self._policy.session_previews_max]
        await self._server.run(self._keep, self._keys(session_id), arguments)

    async def erase(self, session_id: SessionId) -> bool:
        """See the port."""
        if await self._erased(session_id):
            self._owed.discard(session_id)
            return True
        if len(self._owed) < _ERASURES_OWED_MAX:  # Beyond that, previews end by themselves.
            self._owed.add(session_id)
        if self._paying is None or self._paying.done():
            self._paying = asyncio.create_task(self._pay())
        return False

    async def aclose(self) -> None:
        """Tells what is owed once more, and closes the connections. Never raises for a server that is gone."""
        await end(self._paying)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_TRY_S if self._owed else None):
                for session_id in self._owed:
                    while not await self._erased(session_id):  # noqa: ASYNC110 - nobody is told when it may be tried again
                        await asyncio.sleep(_LAST_PAUSE_S)  # A Redis that failed is connected to beside those who ask.
        await self._server.aclose()

    async def _pay(self) -> None:
        while self._owed:
            await asyncio.sleep(self._policy.retry_s)
            for session_id in list(self._owed):
                if not await self._erased(session_id):
                    break
                self._owed.discard(session_id)

    async def _erased(self, session_id: SessionId) -> bool:
        answer = await self._server.run(self._erase, self._keys(session_id), [round(self._policy.erased_s * 1000)])
        return not isinstance(answer, Unavailable)

    def _keys(self, session_id: SessionId) -> list[str]:
        # The id is the hash tag, for the two belong together and sessions need not: a cluster spreads them.
        return [f"{self._prefix}:previews:{{{session_id}}}", f"{self._prefix}:previews:{{{session_id}}}:erased"]


async def _field(client: Redis, name: str, field: str) -> Any:
    return await client.hget(name, field)


def redis_previews(redis_url: str, key_prefix: str, cache: CachePolicy, policy: PreviewPolicy) -> RedisSignalPreviews:
    """Previews at a Redis, asked within the cache's deadlines and with breakers of their own. Raises InvalidSettings."""
    return RedisSignalPreviews(server_at(redis_url, cache, CacheStats()), key_prefix, policy)
