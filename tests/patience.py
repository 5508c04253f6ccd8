"""Bounded waiting for what other processes and tasks do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(ask: Callable[[], Awaitable[T]], holds: Callable[[T], object], *, within_s: float = 10.0) -> T:
    """Asks until the answer is as it should be; the last answer stands in the failure."""
    clock = asyncio.get_running_loop().time
    end = clock() + within_s
    while True:
        answer = await ask()
        if holds(answer):
            return answer
        assert clock() < end, f"still {answer!r:.300} after {within_s:g} s"
        await asyncio.sleep(0.01)
