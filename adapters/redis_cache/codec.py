"""Answers to entries and back: encoding, compression, age."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import zstandard

from adapters import document
from adapters.redis_cache.entry import Entry
from adapters.redis_cache.policy import CachePolicy
from domain.errors import StoredDataInvalid
from domain.ports import AnalyticsAnswer, Coding, DocumentAnswer
from domain.session import SessionId

SOURCE: Final = "redis"


class Codec:
    """Compresses what is large enough to gain by it. Contexts are made once and used again: that halves the time of small documents.

    For one event loop: contexts are not to be used by two threads at once.
    """

    def __init__(self, policy: CachePolicy, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._compress_from_bytes = policy.compress_from_bytes if policy.codec == "zstd" else None
        self._document_bytes_max = policy.document_bytes_max
        self._wall_clock = wall_clock
        self._compressor = zstandard.ZstdCompressor(level=3)
        self._decompressor = zstandard.ZstdDecompressor()

    def entry(self, session_id: SessionId, answer: AnalyticsAnswer | None, epoch: bytes) -> Entry | None:
        """What to store for an answer of the truth; None if it is too large to be stored."""
        now_ms = round(self._wall_clock() * 1000)
        if answer is None:
            # Version 0 is older than any write, so every later invalidation drops it.
            return Entry(session_id, 0, epoch, now_ms, "identity", None)
        body = document.encode(answer.analytics)
        if len(body) > self._document_bytes_max:
            return None
        coding, payload = self._compress(body)
        return Entry(session_id, answer.version, epoch, now_ms, coding, payload)

    def answer(self, entry: Entry) -> AnalyticsAnswer | None:
        """The answer in an entry that has a payload; None if the payload is no document of ours."""
        body = None if entry.payload is None else self._decompress(entry.coding, entry.payload)
        if body is None:
            return None
        try:
            analytics = document.decode(body, of=f"session {entry.session_id}")
        except StoredDataInvalid:
            return None
        return AnalyticsAnswer(analytics, entry.version, SOURCE, self._age_s(entry))

    def document(self, entry: Entry) -> DocumentAnswer | None:
        """The document in an entry, in the coding in which it is stored; None if the entry says that there is none."""
        if entry.payload is None:
            return None
        return DocumentAnswer(entry.payload, entry.coding, entry.version, SOURCE, self._age_s(entry))

    def _compress(self, body: bytes) -> tuple[Coding, bytes]:
        if self._compress_from_bytes is None or len(body) < self._compress_from_bytes:
            return "identity", body
        return "zstd", self._compressor.compress(body)

    def _decompress(self, coding: Coding, payload: bytes) -> bytes | None:
        if coding == "identity":
            return payload
        try:
            # The frame's own claim is checked before memory is taken for it.
            if not 0 <= zstandard.frame_content_size(payload) <= self._document_bytes_max:
                return None
            return self._decompressor.decompress(payload)
        except zstandard.ZstdError:
            return None

    def _age_s(self, entry: Entry) -> float:
        return max(0.0, self._wall_clock() - entry.filled_at_ms / 1000)
