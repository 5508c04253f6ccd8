"""Exchanges that do not need each other's answers are under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, in their order. Cancelling it cancels all, and waits until they have ended."""
    return [await work[0]] if len(work) == 1 else list(await asyncio.gather(*work))
