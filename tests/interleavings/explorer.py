"""Runs a scene again and again, each time in another order, until every order within a bound was seen.

The bound is on preemptions: how often somebody is interrupted who could have gone on. Few suffice for almost every race, and with few the
orders are few enough to try them all (iterative context bounding, Musuvathi and Qadeer, PLDI 2007).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Schedule:
    """One order: what is given is followed, and then nobody is interrupted. Notes what else could have been done."""

    given: tuple[int, ...] = ()
    chosen: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    preemptions: int = 0
    others: list[tuple[tuple[int, ...], int]] = field(default_factory=list)
    """Other beginnings, with their preemptions."""
    _last: str = ""

    def choose(self, options: Sequence[tuple[str, str]]) -> int:
        """Who goes on, of these, each given as who and what."""
        names = [name for name, _ in options]
        could_go_on = self._last in names
        usual = names.index(self._last) if could_go_on else 0
        step = len(self.chosen)
        # A scene may differ a little from run to run, where it looks at the time.
        choice = min(self.given[step], len(options) - 1) if step < len(self.given) else usual
        if step >= len(self.given):
            for other in range(len(names)):
                if other != usual:
                    self.others.append(((*self.chosen, other), self.preemptions + could_go_on))
        self.preemptions += could_go_on and choice != usual
        self._last = names[choice]
        self.chosen.append(choice)
        self.told.append(" ".join(options[choice]))
        return choice

    def __str__(self) -> str:
        return "\n".join(f"{step:3}. {told}" for step, told in enumerate(self.told, 1))


@dataclass(frozen=True, slots=True)
class Explored:
    """How many orders were run, and whether these were all within the bound."""

    orders: int
    complete: bool

    def __str__(self) -> str:
        return f"{self.orders} orders{'' if self.complete else ', and there are more'}"


def explore(run: Callable[[Schedule], None], *, preemptions_max: int, schedules_max: int, seed: int = 1) -> Explored:
    """Calls `run` with one schedule after another. Beyond `schedules_max` it is a sample, drawn by the seed. What `run` raises is raised,
    with the order in which it happened."""
    dice = random.Random(seed)
    beginnings: list[tuple[int, ...]] = [()]
    done = 0
    while beginnings and done < schedules_max:
        # From anywhere among them: where not all can be tried, the last is as good as the first.
        place = dice.randrange(len(beginnings))
        beginnings[place], beginnings[-1] = beginnings[-1], beginnings[place]
        schedule = Schedule(beginnings.pop())
        done += 1
        try:
            run(schedule)
        except BaseException as error:
            error.add_note(f"in order {done}, with {schedule.preemptions} preemptions:\n{schedule}")
            raise
        beginnings += [beginning for beginning, preemptions in schedule.others if preemptions <= preemptions_max]
    return Explored(done, complete=not beginnings)
