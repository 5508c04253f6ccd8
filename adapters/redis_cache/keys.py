"""The names of keys. No patient data: a session's id and nothing else.

`{0}` is a hash tag: Redis Cluster keeps what shares it together, so that one script may touch all of it. The store's id separates the
caches of different databases under one prefix.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from domain.errors import InvalidSettings
from domain.session import SessionId


def check_prefix(prefix: str) -> None:
    """Raises InvalidSettings if the prefix would break the hash tag, or the pattern that finds entries."""
    if not prefix or any(sign in prefix for sign in "{}*?[]\\ \n"):
        raise InvalidSettings(f"REDIS_KEY_PREFIX must have some letters and no braces, brackets, wildcards or spaces, not {prefix!r}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one store's cache."""

    root: str
    heartbeat: str = field(init=False)
    """There while the cache is in step with the truth; its value is the epoch."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "heartbeat", f"{self.root}:hb")  # Named in every read, so it is put together once.

    @classmethod
    def of(cls, prefix: str, store_id: UUID) -> Keys:
        """The keys under a prefix. Raises InvalidSettings if it cannot be used."""
        check_prefix(prefix)
        return cls(f"{prefix}:{store_id.hex[:8]}:{{0}}")

    def entry(self, session_id: SessionId) -> str:
        """The session's analytics, or word that there are none."""
        return f"{self.root}:e:{session_id}"

    @property
    def entries_pattern(self) -> str:
        """Matches the names of entries, for SCAN."""
        return f"{self.root}:e:*"

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
