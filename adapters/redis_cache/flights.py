"""One piece of work for many who want it: each key is worked on once at a time, in a task that belongs to nobody who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Landed(Generic[T]):
    """What the work brought. `joined`: it had begun before this caller came, so it may know less than the caller must."""

    result: T
    joined: bool


class Flights(Generic[K, T]):
    """Cancelling one who waits cancels neither the work nor the others. Failures reach everybody who waits."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> Landed[T]:
        """The result of the work under way for this key, or of this work, begun now."""
        task = self._tasks.get(key)
        joined = task is not None
        if task is None:
            task = asyncio.create_task(work())
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return Landed(await asyncio.shield(task), joined)

    async def aclose(self) -> None:
        """Cancels what is under way and waits until it has ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _landed(self, key: K, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # Everybody who waited has it; if nobody waits any more, nobody misses it.
