"""Answers to entries and back: encoding, compression, age."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import Callable
from typing import Final

import zstandard

from adapters import document
from adapters.redis_cache.entry import Entry
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.stats import CacheStats
from domain.analytics import SessionAnalytics
from domain.errors import StoredDataInvalid
from domain.ports import AnalyticsAnswer, Coding
from domain.session import SessionId

_GZIP: Final = 31  # zlib's wbits for a gzip frame
_PAYLOAD_SHARE: Final = 4


class Codec:
    """Compresses what is large enough to gain by it, and works on what is too large for the event loop in a thread."""

    def __init__(self, policy: CachePolicy, stats: CacheStats | None = None, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._stats = stats or CacheStats()
        self._coding: Coding = "identity" if policy.codec == "none" else policy.codec
        self._compress_from_bytes = policy.compress_from_bytes
        self._document_bytes_max = policy.document_bytes_max
        self._off_loop_from_bytes = policy.off_loop_from_bytes
        self._soft_life_s = int(policy.ttl_s * policy.refresh_fraction)
        self._wall_clock = wall_clock
        # zstandard's contexts are made once and used again, which halves the time of small documents, but by one thread each.
        self._contexts = threading.local()

    async def entry(self, session_id: SessionId, answer: AnalyticsAnswer | None, epoch: bytes, *, absent_since: int = 0) -> Entry | None:
        """What to store for an answer of the truth; None if it is too large to be stored. If the truth has nothing, `absent_since` is a
        version that is not newer than that; 0 is older than any write, so every later invalidation drops it."""
        now_ms = round(self._wall_clock() * 1000)
        if answer is None:
            return Entry(session_id, absent_since, epoch, now_ms, "identity", None)
        body = document.encode(answer.analytics)
        if len(body) > self._document_bytes_max:
            return None
        if len(body) < self._off_loop_from_bytes:
            coding, payload = self._compress(body)
        else:
            coding, payload = await asyncio.to_thread(self._compress, body)
        self._stats.coded(len(body), len(payload))
        return Entry(session_id, answer.version, epoch, now_ms, coding, payload, self._soft_life_s)

    async def analytics(self, entry: Entry) -> SessionAnalytics | None:
        """The analytics in an entry that has a payload; None if the payload is no document of ours."""
        if len(entry.payload or b"") < self._off_loop_from_bytes // _PAYLOAD_SHARE:
            return self._decode(entry)
        return await asyncio.to_thread(self._decode, entry)

    def age_s(self, entry: Entry) -> float:
        """How long ago the entry was filled."""
        age_s = self._wall_clock() - entry.filled_at_ms / 1000
        return age_s if age_s > 0.0 else 0.0

    def wants_refresh(self, entry: Entry) -> bool:
        """Whether the entry is near its end, and had better be renewed while it can still be read."""
        return 0 < entry.soft_life_s < self._wall_clock() - entry.filled_at_ms / 1000

    def _decode(self, entry: Entry) -> SessionAnalytics | None:
        body = None if entry.payload is None else self._decompress(entry.coding, entry.payload)
        if body is None:
            return None
        try:
            return document.decode(body, of=entry.session_id)
        except StoredDataInvalid:
            return None

    def _compress(self, body: bytes) -> tuple[Coding, bytes]:
        if len(body) < self._compress_from_bytes:
            return "identity", body
        match self._coding:
            case "identity":
                return "identity", body
            case "zstd":
                return "zstd", self._zstd()[0].compress(body)
            case "gzip":
                compressor = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
                return "gzip", compressor.compress(body) + compressor.flush()

    def _decompress(self, coding: Coding, payload: bytes) -> bytes | None:
        # What a frame would grow to is bounded before or while memory is taken for it.
        try:
            match coding:
                case "identity":
                    return payload
                case "zstd":
                    if not 0 <= zstandard.frame_content_size(payload) <= self._document_bytes_max:
                        return None
                    return self._zstd()[1].decompress(payload)
                case "gzip":
                    decompressor = zlib.decompressobj(_GZIP)
                    body = decompressor.decompress(payload, self._document_bytes_max)
                    return body if decompressor.eof else None
        except (zstandard.ZstdError, zlib.error):
            return None

    def _zstd(self) -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
        contexts: tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor] | None = getattr(self._contexts, "zstd", None)
        if contexts is None:
            contexts = self._contexts.zstd = (zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor())
        return contexts
