"""One look into Redis for one session: the entry and the heartbeat, in one command, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.redis_cache.entry import Entry, unpack
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.leases import Leases
from adapters.redis_cache.near import NearCache, NearCopy
from adapters.redis_cache.reads import CoalescedReads
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.stats import CacheStats
from domain.session import SessionId


@dataclass(frozen=True, slots=True)
class Miss:
    """Redis does not have it, or too old a version; what is loaded now may be stored under this epoch."""

    keys: Keys
    epoch: bytes


@dataclass(frozen=True, slots=True)
class Bypass:
    """Redis cannot be used now. Not a miss: nothing is stored, nobody waits."""

    reason: str


Hit = Entry | NearCopy
"""Redis has it, and may be believed: what it sent, or our copy of just that."""
Outcome = Hit | Miss | Bypass


class Lookup:
    """Asks for whole entries, or for headers alone where a copy is near."""

    def __init__(self, relay: Relay, reads: Sequence[CoalescedReads], near: NearCache, leases: Leases, stats: CacheStats) -> None:
        self._relay = relay
        self._reads = reads
        self._near = near
        self._leases = leases
        self._stats = stats

    async def look_up(self, session_id: SessionId, at_least: int | None) -> Outcome:
        """What Redis has now of a version that is at least this one."""
        keys = self._relay.keys_of(session_id)
        if keys is None:
            return Bypass("not_in_step")
        if (copy := self._near.held(session_id)) is not None:
            # Whoever has the rest asks for the header alone, which holds a checksum of the rest.
            values = await self._reads[keys.partition].read_header(copy.question(keys), keys.heartbeat)
            if isinstance(values, Unavailable):
                return Bypass(values.reason)
            header, epoch = values
            if header == copy.header and epoch == copy.entry.epoch and copy.entry.version >= (at_least or 0):
                return copy
        values = await self._reads[keys.partition].read(keys.entry(session_id), keys.heartbeat)
        if isinstance(values, Unavailable):
            return Bypass(values.reason)
        value, epoch = values
        if epoch is None:
            return Bypass("not_in_step")
        if value is None:
            return Miss(keys, epoch)
        entry = unpack(value, session_id)
        if entry is None:
            await self.drop_damaged(session_id)
            return Miss(keys, epoch)
        if entry.epoch != epoch or entry.version < (at_least or 0):
            return Miss(keys, epoch)
        return entry

    async def drop_damaged(self, session_id: SessionId) -> None:
        """Drops what is no entry, or an entry that is no document; the next load is stored in its place."""
        self._stats.count("damaged")
        keys = self._relay.keys_of(session_id)
        if keys is not None:
            await self._leases.invalidate(keys, session_id, None)  # Not even its version can be trusted.

    async def aclose(self) -> None:
        """Closes the connections of the reads."""
        for reads in self._reads:
            await reads.aclose()
