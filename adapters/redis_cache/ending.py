"""Tasks of our own are ended for certain."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_AGAIN_S: Final = 0.2


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancels a task and waits until it has ended; None has ended.

    It is told again until it does: on Python 3.11 asyncio.wait_for, which redis-py uses where a socket has a timeout, loses a cancellation
    that comes just when what it waits for is done.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_S)
