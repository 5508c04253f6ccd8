"""How the parts of the system do, and since when not well. Looking never hangs: each part has a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from domain.errors import EmgSessionsError
from domain.ports import HealthStatus, PartHealth, ProcessingQueue, WatchedPart

# Any number of watchers cost as much as one: a look this recent is good enough for all.
_LOOK_AGAIN_S: Final = 0.5

_BY_SEVERITY: Final[tuple[HealthStatus, ...]] = ("healthy", "degraded", "unhealthy")


@dataclass(frozen=True, slots=True)
class PartReport:
    """One part: how it does, and since when it has not been healthy (None: it is, or it was not watched before)."""

    health: PartHealth
    since: datetime | None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All parts by name. The whole is degraded as soon as one part is not healthy: it still answers, by what is left."""

    status: HealthStatus
    parts: Mapping[str, PartReport]


class HealthWatch:
    """Looks at all parts at once, shares what it saw for a moment, and remembers since when a part has not been well."""

    def __init__(
        self,
        parts: Mapping[str, WatchedPart],
        *,
        deadline_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._parts = dict(parts)
        self._deadline_s = deadline_s
        self._clock = clock
        self._now = now
        self._looking = asyncio.Lock()
        self._since: dict[str, datetime] = {}
        self._ending: dict[WatchedPart, asyncio.Future[PartHealth]] = {}
        self._last: HealthReport | None = None
        self._looked_at = 0.0

    async def report(self) -> HealthReport:
        """How everything does now, or did half a second ago. Raises nothing."""
        async with self._looking:
            if self._last is None or self._clock() - self._looked_at > _LOOK_AGAIN_S:
                seen = await asyncio.gather(*(self._look(part) for part in self._parts.values()))
                self._last = self._reported(dict(zip(self._parts, seen, strict=True)))
                self._looked_at = self._clock()
            return self._last

    async def _look(self, part: WatchedPart) -> PartHealth:
        """The deadline holds also where giving up a look takes its own time, as a connection does that nobody answers any more."""
        if part not in self._ending:
            looking = asyncio.ensure_future(part.look())
            try:
                await asyncio.wait({looking}, timeout=self._deadline_s)
            finally:
                if not looking.done():
                    looking.cancel()
                    self._ending[part] = looking
                    looking.add_done_callback(lambda ended: self._ended(part, ended))
            if looking.done():
                return _seen(looking)
        return PartHealth("unhealthy", f"no answer within {self._deadline_s:g} s")

    def _ended(self, part: WatchedPart, look: asyncio.Future[PartHealth]) -> None:
        del self._ending[part]
        if not look.cancelled():
            look.exception()  # Nobody asks for it any more.

    def _reported(self, seen: Mapping[str, PartHealth]) -> HealthReport:
        for name, health in seen.items():
            if health.status == "healthy":
                self._since.pop(name, None)
            else:
                self._since.setdefault(name, self._now())
        worst = max((_BY_SEVERITY.index(health.status) for health in seen.values()), default=0)
        return HealthReport(
            status=_BY_SEVERITY[min(worst, 1)],
            parts={name: PartReport(health, self._since.get(name)) for name, health in seen.items()},
        )


def _seen(look: asyncio.Future[PartHealth]) -> PartHealth:
    try:
        return look.result()
    except EmgSessionsError as error:
        return PartHealth("unhealthy", str(error))
    except Exception as error:  # noqa: BLE001  # Looking must not fail, least of all when something is wrong. No text: it is not ours.
        return PartHealth("unhealthy", f"looking at it failed ({type(error).__name__})")


class QueueWatch(WatchedPart):
    """How many sessions wait for a worker. Many of them are work, not trouble: what is too many is for an alert to say."""

    def __init__(self, queue: ProcessingQueue) -> None:
        self._queue = queue

    async def look(self) -> PartHealth:
        """See the port."""
        return PartHealth("healthy", None, {"depth": await self._queue.depth()})
