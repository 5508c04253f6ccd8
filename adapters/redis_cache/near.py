"""The near cache: decoded analytics in the process itself, shared by all its readers, for a moment.

A copy is trusted for `near_trust_s` from before it was asked for; after that it is served only if Redis still has its header, which spares
the transfer and the decoding. Our own writes drop it at once. It is in one event loop, so nothing here locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from cachetools import LRUCache

from adapters.redis_cache.batch import header_question
from adapters.redis_cache.entry import Entry, header_of
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.policy import CachePolicy
from domain.analytics import SessionAnalytics
from domain.session import SessionId

# Decoded, three real documents took 3.5 to 4 bytes for each byte of their payload. The estimate is above that, to stay on the safe side for
# documents that compress better.
_OVERHEAD_BYTES = 2_000
_DECODED_BYTES_PER_PAYLOAD_BYTE = 10


class ReadMoment(msgspec.Struct, frozen=True, gc=False):
    """When a read began: by the clock, and by the writes that this process had made."""

    at_s: float
    writes: int


@dataclass(slots=True, eq=False)
class NearCopy:
    """An entry with its payload decoded; `analytics` None: the session has none, or nobody asked for more than the payload yet.

    How long it is trusted and whether it is decoded is all about it that changes. `header` is what Redis has of it while it is current.
    """

    entry: Entry
    analytics: SessionAnalytics | None
    trusted_until_s: float = 0.0
    header: bytes = b""
    _keys: Keys | None = None
    _question: bytes = b""

    def question(self, keys: Keys) -> bytes:
        """The command that asks Redis for the header it has, put together once."""
        if self._keys is not keys:
            self._keys, self._question = keys, header_question(keys.entry(self.entry.session_id))
        return self._question


class NearCache:
    """Copies of what was read last, bounded by number and by estimated bytes."""

    def __init__(self, policy: CachePolicy, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._trust_s = policy.near_trust_s
        self._entries_max = policy.near_entries_max
        self._clock = clock
        self._writes = 0
        # By the numbers in the ids, which are hashed in C.
        self._copies: LRUCache[int, NearCopy] = LRUCache(policy.near_bytes_max, getsizeof=_size)

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def bytes_held(self) -> int:
        """The estimated size of all copies."""
        return int(self._copies.currsize)

    def read_begins(self) -> ReadMoment:
        """To be taken before Redis or the truth is asked."""
        return ReadMoment(self._clock(), self._writes)

    def trusted(self, session_id: SessionId, at_least: int | None) -> NearCopy | None:
        """A copy that may be served without asking anybody."""
        copy = self.held(session_id)
        if copy is None or self._clock() >= copy.trusted_until_s or copy.entry.version < (at_least or 0):
            return None
        return copy

    def held(self, session_id: SessionId) -> NearCopy | None:
        """A copy of whatever age, for when there is nothing better."""
        number = session_id.int
        return self._copies[number] if number in self._copies else None  # noqa: SIM401 - cachetools' get() looks once more

    def same(self, entry: Entry) -> NearCopy | None:
        """The copy of just this entry, if there is one: same version, same epoch, same filling."""
        copy = self.held(entry.session_id)
        if copy is None or copy.entry.version != entry.version or copy.entry.epoch != entry.epoch:
            return None
        return copy if copy.entry.filled_at_ms == entry.filled_at_ms else None

    def keep(self, copy: NearCopy, began: ReadMoment) -> None:
        """Keeps what a read brought, trusted from when the read began; not if this process wrote meanwhile, since it may be older."""
        if self._entries_max == 0 or began.writes != self._writes:
            return
        known = self.held(copy.entry.session_id)
        trusted_until_s = began.at_s + self._trust_s
        if known is not None and known.entry.epoch == copy.entry.epoch:
            if known.entry.version > copy.entry.version:
                return
            if known.entry.version == copy.entry.version:
                trusted_until_s = max(trusted_until_s, known.trusted_until_s)
        copy.trusted_until_s = trusted_until_s
        if not copy.header:
            copy.header = header_of(copy.entry)
        try:
            self._copies[copy.entry.session_id.int] = copy
        except ValueError:  # Larger than all that may be held.
            self._copies.pop(copy.entry.session_id.int, None)
            return
        if len(self._copies) > self._entries_max:
            self._copies.popitem()

    def confirm(self, copy: NearCopy, began: ReadMoment) -> None:
        """Redis says that a copy is current. Trusted anew from when that read began, unless it was dropped meanwhile."""
        if began.writes == self._writes:
            copy.trusted_until_s = max(copy.trusted_until_s, began.at_s + self._trust_s)

    def clear(self) -> None:
        """Forgets everything, also what reads under way would bring."""
        self._writes += 1
        self._copies.clear()

    def drop(self, session_id: SessionId) -> None:
        """This process writes or wrote the session."""
        self._writes += 1
        self._copies.pop(session_id.int, None)


def _size(copy: NearCopy) -> int:
    return _OVERHEAD_BYTES + _DECODED_BYTES_PER_PAYLOAD_BYTE * len(copy.entry.payload or b"")
