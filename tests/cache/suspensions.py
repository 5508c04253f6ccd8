"""Counts how often the tasks of one call suspend, and cancels somebody at one of these moments."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

Moment = Literal["as it suspends", "as it is about to go on"]
Victim = Literal["the caller", "whoever suspends"]

_COUNTED: Final[contextvars.ContextVar[Suspensions | None]] = contextvars.ContextVar("counted", default=None)


@dataclass
class Suspensions:
    """Cancels at the suspension of this number. Going on is the worse moment: what was waited for is there, and is not received."""

    at: int
    moment: Moment
    victim: Victim = "the caller"
    count: int = 0
    caller: asyncio.Task[Any] | None = None

    @property
    def reached(self) -> bool:
        """Whether it came to that."""
        return self.count >= self.at

    def begin(self, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """The call, in a task; it and all tasks that come of it are counted."""
        context = contextvars.copy_context()
        context.run(_COUNTED.set, self)
        self.caller = asyncio.get_running_loop().create_task(call, context=context)
        return self.caller

    def suspended(self, waits_for: Any) -> None:
        """One more."""
        self.count += 1
        task = self.caller if self.victim == "the caller" else asyncio.current_task()
        if self.count != self.at or task is None:
            return
        if self.moment == "as it is about to go on" and asyncio.isfuture(waits_for):
            waits_for.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells whenever it suspends."""

    def __init__(self, inner: Coroutine[Any, Any, Any], suspensions: Suspensions) -> None:
        self._inner = inner
        self._suspensions = suspensions

    def send(self, value: Any) -> Any:
        waits_for = self._inner.send(value)
        self._suspensions.suspended(waits_for)
        return waits_for

    def throw(self, *error: Any) -> Any:
        waits_for = self._inner.throw(*error)
        self._suspensions.suspended(waits_for)
        return waits_for

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()


@contextmanager
def counting() -> Iterator[None]:
    """Makes the tasks of the running loop countable."""
    loop = asyncio.get_running_loop()

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        context = options.get("context")
        suspensions = _COUNTED.get() if context is None else context.get(_COUNTED)
        return asyncio.Task(work if suspensions is None else _Counted(work, suspensions), loop=loop, **options)

    before = loop.get_task_factory()
    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(before)
