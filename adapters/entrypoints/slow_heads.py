"""Closes connections whose request's head does not come to its end: uvicorn itself gives it any time.

Looked at from outside, a few times within that time, so that it costs nothing for each request. What is looked at are attributes of
uvicorn's protocol; a test on a real server notices if a new version has others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, Final

_LOOKS: Final = 3


class SlowHeads:
    """Which connections wait for the rest of a head, since when.

    A connection waits if it has not begun a request, or has begun one (`scope`) whose answering (`cycle`) has not. One that is kept alive
    between two requests does not: uvicorn has set it a time of its own, until the next byte comes.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._waiting: dict[Any, tuple[object, float]] = {}

    def close(self, connections: Collection[Any]) -> int:
        """Closes those that have waited too long; how many there were."""
        now, closed = self._clock(), 0
        waiting = {}
        for connection in connections:
            if not _waits(connection):
                continue
            head, since = self._waiting.get(connection, (connection.scope, now))
            if head is not connection.scope:
                head, since = connection.scope, now  # Another request than at the last look.
            if now - since >= self._seconds:
                connection.transport.close()
                closed += 1
            else:
                waiting[connection] = (head, since)
        self._waiting = waiting
        return closed


def _waits(connection: Any) -> bool:
    cycle = connection.cycle
    if cycle is None or cycle.scope is not connection.scope:
        return not connection.pipeline
    return bool(cycle.response_complete) and connection.timeout_keep_alive_task is None


@asynccontextmanager
async def slow_heads_closed(connections: Collection[Any], seconds: float) -> AsyncIterator[None]:
    """Closes such connections for as long as the context lasts."""
    slow = SlowHeads(seconds)

    async def look() -> None:
        while True:
            await asyncio.sleep(seconds / _LOOKS)
            slow.close(list(connections))

    looking = asyncio.create_task(look(), name="slow heads")
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
