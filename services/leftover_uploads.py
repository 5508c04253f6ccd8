"""Removes recordings that nobody will ever ask for: uploads whose process was killed before it had registered their sessions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.ports import RecordingStore, SessionRegistry

# What RecordingIntake names them, and nothing else: a bucket of the storage may be called the same.
_OURS: Final = {
    "incoming": re.compile(r"incoming/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.c3d"),
    "uploads": re.compile(r"uploads/[0-9a-f]{64}\.c3d"),
}
_PAGE: Final = 1000


class LeftoverUploads:
    """Uploads that are older than `age` and that no session names. What is younger may still be about to be registered."""

    def __init__(
        self,
        *,
        store: RecordingStore,
        registry: SessionRegistry,
        age: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._registry = registry
        self._age = age
        self._clock = clock

    async def remove(self) -> int:
        """Removes them all; how many there were. Several may do so at once. Raises what the store and the registry raise."""
        return sum([await self._remove_from(folder, pattern) for folder, pattern in _OURS.items()])

    async def _remove_from(self, folder: str, pattern: re.Pattern[str]) -> int:
        removed, after = 0, ""
        while True:
            moment = self._clock() - self._age
            page = await self._store.stored_before(moment, folder=folder, limit=_PAGE, after=after)
            ours = [key for key in page if pattern.fullmatch(key)]
            named = await self._registry.naming(ours)
            for key in ours:
                # Asked once more: the same bytes may have been uploaded again meanwhile, and then the recording is young, or has a session.
                if key not in named and await self._is_still_left(key, moment):
                    await self._store.delete(key)
                    removed += 1
            if len(page) < _PAGE:
                return removed
            after = page[-1]

    async def _is_still_left(self, key: str, moment: datetime) -> bool:
        if await self._registry.naming([key]):
            return False
        since = await self._store.stored_at(key)
        return since is not None and since < moment
