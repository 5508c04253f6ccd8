"""Tasks of our own are ended for certain."""

from __future__ import annotations

import asyncio
from typing import Any, Final

# Long enough for what a cancelled task still has to clear up.
_AGAIN_S: Final = 1.0


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancels a task and waits until it has ended; None has ended.

    It is told again until it does: on Python 3.11 asyncio.wait_for, which redis-py and psycopg_pool use, loses a cancellation
    that comes just when what it waits for is done.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_S)
