"""Calls that fall due at a steady rate, whatever becomes of those before.

A closed loop, which asks again when it has been answered, asks less of whoever is slow: what stalls for a second is then felt by one call.
Here it is felt by all that fell due in that second, as it is by users. Latency counts from when a call was due.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

_TICK_S_MAX: Final = 0.05
_LAND_S_MAX: Final = 20.0
NEVER_ANSWERED: Final = "never answered"


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it was due, how long it took from then, who answered (for a read), and the name of what was raised, if anything."""

    what: str
    due_s: float
    took_s: float
    source: str = ""
    error: str = ""

    @property
    def ended_s(self) -> float:
        """When its caller went on."""
        return self.due_s + self.took_s


class OpenLoop:
    """Makes calls by `call(number)`, which returns who answered; `what(number)` says what it is. `calls` is what became of them, in the
    order of their ends.

    Several loops at one rate that begin together call at the same moments.
    """

    def __init__(self, call: Callable[[int], Awaitable[str]], what: Callable[[int], str], rate_per_s: float) -> None:
        self._call = call
        self._what = what
        self._rate_per_s = rate_per_s
        self._under_way: dict[asyncio.Task[None], tuple[str, float]] = {}
        self._end_s = float("inf")
        self.calls: list[Call] = []

    def stop_at(self, end_s: float) -> None:
        """No call falls due from this moment on."""
        self._end_s = end_s

    async def run(self, begin_s: float) -> None:
        """Makes the calls that fall due from a moment of `time.monotonic` on, until it is stopped; then waits for those under way."""
        try:
            await self._make(begin_s)
            if self._under_way:
                await asyncio.wait(set(self._under_way), timeout=_LAND_S_MAX)
        finally:
            await self._give_up()

    async def _make(self, begin_s: float) -> None:
        made = 0
        while (due_s := begin_s + made / self._rate_per_s) < self._end_s:
            late_s = time.monotonic() - due_s
            if late_s < 0:
                await asyncio.sleep(min(-late_s, _TICK_S_MAX))
                continue
            task = asyncio.create_task(self._one(made, due_s))
            self._under_way[task] = (self._what(made), due_s)
            task.add_done_callback(self._under_way.pop)
            made += 1

    async def _give_up(self) -> None:
        """Nothing is left running, however it ends."""
        for task, (what, due_s) in list(self._under_way.items()):
            task.cancel()
            self.calls.append(Call(what, due_s, time.monotonic() - due_s, error=NEVER_ANSWERED))
        if self._under_way:
            await asyncio.wait(set(self._under_way))

    async def _one(self, number: int, due_s: float) -> None:
        source, error = "", ""
        try:
            source = await self._call(number)
        except Exception as raised:  # noqa: BLE001 - that something reached the caller is what is counted
            error = type(raised).__name__
        self.calls.append(Call(self._what(number), due_s, time.monotonic() - due_s, source, error))
