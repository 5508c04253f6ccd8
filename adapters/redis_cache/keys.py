"""The names of keys. No patient data: a session's id and nothing else.

`{0}` is a hash tag, and stands for a partition: Redis Cluster keeps what shares it together, so that one script may touch all of it.
The store's id separates the caches of different databases under one prefix. Where there are several partitions, how many is in every name
too, so that processes with different numbers have different caches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from uuid import UUID

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from domain.errors import InvalidSettings
from domain.session import SessionId


def check_prefix(prefix: str) -> None:
    """Raises InvalidSettings if the prefix would break the hash tag, or the pattern that finds entries."""
    if not prefix or any(sign in prefix for sign in "{}*?[]\\ \n"):
        raise InvalidSettings(f"REDIS_KEY_PREFIX must have some letters and no braces, brackets, wildcards or spaces, not {prefix!r}")


@cache
def tag_of(partition: int, partitions: int) -> int:
    """The number in a partition's hash tag: the first one whose slot is in this partition's share of the slots, so that nodes which have
    equal ranges of slots have as many partitions, to within one. Of consecutive numbers the slots crowd."""
    return next(tag for tag in count() if _slot(tag) * partitions // REDIS_CLUSTER_HASH_SLOTS == partition)


def slot_of(partition: int, partitions: int) -> int:
    """The slot that holds all of a partition in a cluster."""
    return _slot(tag_of(partition, partitions))


def _slot(tag: int) -> int:
    return key_slot(str(tag).encode())


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one partition of a store's cache, by default the only one."""

    root: str
    partition: int = 0
    partitions: int = 1
    heartbeat: str = field(init=False)
    """There while the cache is in step with the truth; its value is the epoch."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "heartbeat", f"{self.root}:hb")  # Named in every read, so it is put together once.

    @classmethod
    def of(cls, prefix: str, store_id: UUID, partition: int = 0, partitions: int = 1) -> Keys:
        """The keys under a prefix. Raises InvalidSettings if it cannot be used."""
        check_prefix(prefix)
        several = "" if partitions == 1 else f"{partitions}:"
        return cls(f"{prefix}:{store_id.hex[:8]}:{several}{{{tag_of(partition, partitions)}}}", partition, partitions)

    def holds(self, session_id: SessionId) -> bool:
        """Whether the session is of this partition."""
        return session_id.int % self.partitions == self.partition

    def entry(self, session_id: SessionId) -> str:
        """The session's analytics, or word that there are none."""
        return f"{self.root}:e:{session_id}"

    @property
    def entries_pattern(self) -> str:
        """Matches the names of entries, of all partitions, for SCAN."""
        return f"{self.root}:e:*" if self.partitions == 1 else f"{self.root.partition('{')[0]}{{*}}:e:*"

    def lease(self, session_id: SessionId) -> str:
        """Who may store the entry now."""
        return f"{self.root}:l:{session_id}"

    def entries_and_leases(self, session_ids: Iterable[SessionId]) -> list[str]:
        """Entry, lease, entry, lease, …: the form in which scripts take them."""
        return [name for session_id in session_ids for name in (self.entry(session_id), self.lease(session_id))]

    @property
    def position(self) -> str:
        """Up to where the truth's change log has been applied, as epoch:position."""
        return f"{self.root}:w"

    @property
    def mark(self) -> str:
        """Which pass of the relay is under way."""
        return f"{self.root}:r"

    @property
    def counters(self) -> str:
        """What all processes counted: a hash."""
        return f"{self.root}:stats"
