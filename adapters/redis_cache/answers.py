"""Entries and copies as the answers that callers get."""

from __future__ import annotations

from adapters.redis_cache.codec import Codec
from adapters.redis_cache.entry import Entry
from adapters.redis_cache.near import NearCache, NearCopy, ReadMoment
from domain.ports import AnalyticsAnswer, DocumentAnswer, VersionAnswer


class Answers:
    """Decodes each entry once, keeps what it decoded near, and says how old it is. None is the answer for a session without analytics."""

    def __init__(self, codec: Codec, near: NearCache) -> None:
        self._codec = codec
        self._near = near

    async def decoded(self, entry: Entry, began: ReadMoment) -> NearCopy | None:
        """The entry with its payload decoded, which then stays near; None if it cannot be decoded."""
        copy = self._near.same(entry) or NearCopy(entry, None)
        if not await self.ready(copy):
            return None
        self._near.keep(copy, began)
        return copy

    async def ready(self, copy: NearCopy) -> bool:
        """Decodes a copy that so far was only passed on; False if it is no document of ours."""
        if copy.analytics is not None or copy.entry.payload is None:
            return True
        copy.analytics = await self._codec.analytics(copy.entry)
        return copy.analytics is not None

    def analytics(self, copy: NearCopy, source: str) -> AnalyticsAnswer | None:
        """Of a copy that is ready."""
        if copy.analytics is None:
            return None
        return AnalyticsAnswer(copy.analytics, copy.entry.version, source, self._codec.age_s(copy.entry))

    def document(self, entry: Entry, source: str) -> DocumentAnswer | None:
        """What is stored, as it is."""
        if entry.payload is None:
            return None
        return DocumentAnswer(entry.payload, entry.coding, entry.version, source, self._codec.age_s(entry))

    def version(self, entry: Entry, source: str) -> VersionAnswer | None:
        """The version alone."""
        if entry.payload is None:
            return None
        return VersionAnswer(entry.version, source, self._codec.age_s(entry))
