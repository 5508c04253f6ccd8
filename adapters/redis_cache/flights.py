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
    """Cancelling one who waits cancels neither the work nor the others; when the last one is cancelled, the work ends too. Failures reach
    everybody who waits. `joinable_s`: work that began longer ago takes nobody more along."""

    def __init__(self, joinable_s: float) -> None:
        self._joinable_s = joinable_s
        self._boarding: dict[K, tuple[asyncio.Task[T], float]] = {}
        self._waiting: dict[asyncio.Task[T], int] = {}

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> Landed[T]:
        """The result of the work under way for this key, or of this work, begun now."""
        now = asyncio.get_running_loop().time()
        task, began = self._boarding.get(key, (None, now))
        joined = task is not None and now - began <= self._joinable_s
        if task is None or not joined:
            task = asyncio.create_task(work())
            self._boarding[key] = (task, now)
            self._waiting[task] = 0
            task.add_done_callback(lambda done: self._landed(key, done))
        self._waiting[task] += 1
        try:
            return Landed(await asyncio.shield(task), joined)
        except asyncio.CancelledError:
            if self._waiting.get(task) == 1:
                self._forget(key, task)  # Whoever comes now begins anew, and is not cancelled with it.
                task.cancel()  # Nobody else wants it; what it holds, it gives back on its way out.
            raise
        finally:
            if task in self._waiting:
                self._waiting[task] -= 1

    def depart(self, key: K) -> None:
        """Called by the work itself: from here on, whoever comes must not have its result."""
        self._boarding.pop(key, None)

    async def aclose(self) -> None:
        """Cancels what is under way and waits until it has ended."""
        tasks = list(self._waiting)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _landed(self, key: K, task: asyncio.Task[T]) -> None:
        self._waiting.pop(task, None)
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # Everybody who waited has it; if nobody waits any more, nobody misses it.

    def _forget(self, key: K, task: asyncio.Task[T]) -> None:
        if self._boarding.get(key, (None, 0.0))[0] is task:
            del self._boarding[key]
