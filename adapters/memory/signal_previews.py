"""Previews of signals in this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from domain.ports import SignalPreviews
from domain.session import SessionId
from domain.signals import PREVIEW_S_MAX, SignalPreview

_PREVIEWS_MAX: Final = 500
_ERASURES_MAX: Final = 10_000


class MemorySignalPreviews(SignalPreviews):
    """Keeps the latest `previews_max` previews, of about 64 kB each. No method awaits, so every call is atomic."""

    def __init__(self, *, previews_max: int = _PREVIEWS_MAX, clock: Callable[[], float] = time.monotonic) -> None:
        self._previews_max = previews_max
        self._clock = clock
        self._previews: OrderedDict[tuple[SessionId, str], SignalPreview] = OrderedDict()
        self._erased_at: OrderedDict[SessionId, float] = OrderedDict()

    async def find(self, session_id: SessionId, key: str) -> SignalPreview | None:
        """See the port."""
        preview = self._previews.get((session_id, key))
        if preview is not None:
            self._previews.move_to_end((session_id, key))
        return preview

    async def keep(self, session_id: SessionId, preview: SignalPreview) -> None:
        """See the port."""
        if self._clock() - self._erased_at.get(session_id, -PREVIEW_S_MAX) < PREVIEW_S_MAX:
            return
        self._previews[session_id, preview.key] = preview
        while len(self._previews) > self._previews_max:
            self._previews.popitem(last=False)

    async def erase(self, session_id: SessionId) -> bool:
        """See the port."""
        for place in [place for place in self._previews if place[0] == session_id]:
            del self._previews[place]
        self._erased_at[session_id] = self._clock()
        self._erased_at.move_to_end(session_id)
        while len(self._erased_at) > _ERASURES_MAX:
            self._erased_at.popitem(last=False)
        return True
