"""How the bench measures: warm-up, turns, rounds, and comparisons within a round.

Whatever else the machine does weighs on all ways alike, because they take turns: in every round each way has one turn, in an order that is
shuffled anew. A ratio compares two ways within a round, and the figure is the median of these ratios with the least and the most. So a slow
minute widens the spread and does not move the ratio.

In blocks (`in_blocks`) a turn is many calls on end, as a service under load makes them. Call by call (`call_by_call`) each way makes one
call at a time, in an order drawn anew for each: a round's figure is the median of its calls. That is steadier where two ways differ
by little.

The garbage collector is treated alike for all: what exists before the first round is frozen, so that a cache that holds many objects is
not charged with the passes of others; every turn begins with a pass, outside the time, and within turns it runs as it does in a program.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from adapters.entrypoints.bench.figures import Row, Spread, Table

Call = Callable[[int], Awaitable[object]]
"""Does the thing once, with the session of this number."""
Clock = Callable[[], float]

_WARM_UP_SHARE: Final = 0.25
_CALLS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Way:
    """One way of doing a thing. `before` is called before each turn, outside the time, with the numbers that will be asked for."""

    name: str
    call: Call
    before: Callable[[Sequence[int]], Awaitable[object]] | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a run measures: so many rounds, of turns of about this length."""

    name: str
    rounds: int
    turn_s: float
    calls: int
    """Calls of each way in a round that goes call by call."""
    sessions: int
    """How many sessions there are, where there are many."""
    many_rounds: int
    """Rounds where many ways are timed in many situations."""
    thorough: bool
    """Whether there is time for situations that are much like others."""
    readers: tuple[int, ...] = (64, 256)
    """Numbers of concurrent readers, fewest first."""

    @property
    def fewer(self) -> Pace:
        """The same with as many rounds as there is time for in many situations."""
        return replace(self, rounds=self.many_rounds)


FULL: Final = Pace("full", rounds=15, turn_s=0.25, calls=500, sessions=10_000, many_rounds=9, thorough=True)
QUICK: Final = Pace("quick", rounds=5, turn_s=0.02, calls=60, sessions=1_500, many_rounds=3, thorough=False)


@dataclass(slots=True)
class Rounds:
    """What each way took in each round, in µs a call."""

    us: dict[str, list[float]] = field(default_factory=dict)

    def note(self, way: str, us: float) -> None:
        """One more round of a way."""
        self.us.setdefault(way, []).append(us)

    def median_us(self, way: str) -> float:
        """Of a way's rounds."""
        return statistics.median(self.us[way])

    def times_as_fast(self, way: str, reference: str) -> list[float]:
        """How many times as fast a way was, round by round."""
        return [theirs / ours for theirs, ours in zip(self.us[reference], self.us[way], strict=True)]

    def added_us(self, way: str, reference: str) -> list[float]:
        """How much longer a way took, round by round."""
        return [ours - theirs for theirs, ours in zip(self.us[reference], self.us[way], strict=True)]

    def table(self, name: str, title: str, *, reference: str | None = None, per_second: bool = False, notes: Sequence[str] = ()) -> Table:
        """As a table: µs a call, or calls a second."""
        rows = tuple(
            Row(
                way,
                Spread.of([1e6 / each for each in us] if per_second else us),
                None if reference is None else Spread.of(self.times_as_fast(way, reference)),
            )
            for way, us in self.us.items()
        )
        return Table(name, title, "calls/s" if per_second else "µs", not per_second, reference, rows, tuple(notes))


class Progress:
    """Is told how far a work is; this one does not care. `share` is 0 to 1."""

    def at(self, share: float, what: str) -> None:
        """So far, doing this."""

    def part(self, place: int, of: int) -> Progress:
        """The progress of one of several parts of equal length."""
        return _Part(self, place, of)


class _Part(Progress):
    def __init__(self, whole: Progress, place: int, of: int) -> None:
        self._whole, self._place, self._of = whole, place, of

    def at(self, share: float, what: str) -> None:
        self._whole.at((self._place + share) / self._of, what)


async def in_blocks(
    ways: Sequence[Way],
    readers: Sequence[Sequence[int]],
    pace: Pace,
    *,
    once: bool = False,
    clock: Clock = time.perf_counter,
    order: random.Random | None = None,
    progress: Progress | None = None,
) -> Rounds:
    """Times the ways in turns of many calls on end.

    Each of `readers` is a task that goes through its numbers, again and again; one reader is the caller itself. With `once` no number is
    asked for twice in a turn, so that what is cold stays cold.
    """
    order, progress, rounds = order or random.Random(), progress or Progress(), Rounds({way.name: [] for way in ways})
    turns: list[_Turns] = []
    for place, way in enumerate(ways):
        progress.at(0.2 * place / len(ways), f"warming up {way.name}")
        turns.append(_Turns(way, readers, clock, once=once))
        await turns[-1].warm_up(pace.turn_s)
    with garbage_frozen():
        for number in range(pace.rounds):
            progress.at(0.2 + 0.8 * number / pace.rounds, f"round {number + 1} of {pace.rounds}")
            order.shuffle(turns)
            for turn in turns:
                gc.collect()
                rounds.note(turn.way.name, await turn.take())
    return rounds


async def call_by_call(
    ways: Sequence[Way],
    numbers: Sequence[int],
    pace: Pace,
    *,
    clock: Clock = time.perf_counter,
    order: random.Random | None = None,
    progress: Progress | None = None,
) -> Rounds:
    """Times single calls of the ways in turn; a round's figure is the median of a way's calls in it."""
    order, progress, rounds = order or random.Random(), progress or Progress(), Rounds({way.name: [] for way in ways})
    turns = [*ways]
    for way in ways:
        for number in numbers[:10]:
            await way.call(number)
    with garbage_frozen():
        for done in range(pace.rounds):
            progress.at(done / pace.rounds, f"call by call, round {done + 1} of {pace.rounds}")
            took: dict[str, list[float]] = {way.name: [] for way in ways}
            gc.collect()
            for call in range(pace.calls):
                number = numbers[call % len(numbers)]
                order.shuffle(turns)  # For every call: whoever comes after one with threads of its own pays for these, and that is 30 µs.
                for way in turns:
                    begin = clock()
                    await way.call(number)
                    took[way.name].append((clock() - begin) * 1e6)
            for way in ways:
                rounds.note(way.name, statistics.median(took[way.name]))
    return rounds


class _Turns:
    """The turns of one way. Each begins in its readers' numbers where the one before ended."""

    def __init__(self, way: Way, readers: Sequence[Sequence[int]], clock: Clock, *, once: bool) -> None:
        self.way = way
        self._readers = readers
        self._clock = clock
        self._calls_max = min(map(len, readers)) if once else _CALLS_MAX
        self._calls = 1
        self._place = 0

    async def warm_up(self, turn_s: float) -> None:
        """Makes ever more calls, until it is known how many a reader can make in a turn of this length."""
        while True:
            took_s = await self.take() * self._calls * len(self._readers) / 1e6
            if self._calls >= self._calls_max or took_s >= turn_s * _WARM_UP_SHARE:
                self._calls = max(1, min(self._calls_max, round(self._calls * turn_s / max(took_s, 1e-9))))
                return
            self._calls = min(self._calls_max, self._calls * 4)

    async def take(self) -> float:
        """One turn; µs a call."""
        paths = [[numbers[place % len(numbers)] for place in range(self._place, self._place + self._calls)] for numbers in self._readers]
        self._place += self._calls
        if self.way.before is not None:
            await self.way.before(sorted({number for path in paths for number in path}))
        begin = self._clock()
        if len(paths) == 1:
            await _read(self.way.call, paths[0])
        else:
            await asyncio.gather(*(_read(self.way.call, path) for path in paths))
        return (self._clock() - begin) / (self._calls * len(paths)) * 1e6


async def _read(call: Call, numbers: Sequence[int]) -> None:
    for number in numbers:
        await call(number)


@contextmanager
def garbage_frozen() -> Iterator[None]:
    """Within, the garbage collector looks only through what has come since: what is there already, a tenth of a second's work, stays."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
