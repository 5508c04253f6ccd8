"""A dict whose values end, and of which there are only so many.

For what is looked up at every request: one look into a dict and one at the clock, a fifth of what cachetools.TTLCache takes. The price is
that the values that go first when there are too many are those that came first, not those that were used least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """At most `entries_max` values, each until its own moment by the clock."""

    def __init__(self, entries_max: int, clock: Callable[[], float]) -> None:
        self._entries_max = entries_max
        self._clock = clock
        self._entries: dict[K, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, or None if there is none or it has ended."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock() < entry[0]:
            return entry[1]
        del self._entries[key]
        return None

    def put(self, key: K, value: V, *, until: float) -> None:
        """Keeps a value until a moment of the clock."""
        self._entries.pop(key, None)
        if len(self._entries) >= self._entries_max:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (until, value)

    def clear(self) -> None:
        """Drops all."""
        self._entries.clear()
