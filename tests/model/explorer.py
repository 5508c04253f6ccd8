"""Visits every state a model can reach, breadth first, and tells the shortest way to a broken promise in sentences."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)

Action = tuple[str | int, ...]
"""What happened: a sentence with {} for each argument, then the arguments. Put together only when a trace is told."""

Step = tuple[Action, S, str]
"""An action, the state after it, and the promise it broke ("" if none)."""


class Model(Protocol[S]):
    """A system as a set of states: where it starts, and what may happen next."""

    def start(self) -> S:
        """The first state."""

    def steps(self, state: S) -> Iterable[Step[S]]:
        """Everything that may happen in this state."""


class TooManyStates(Exception):
    """The model is larger than allowed: nothing is proved."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The shortest way from the start to a broken promise."""

    broken: str
    actions: tuple[Action, ...]

    def __len__(self) -> int:
        return len(self.actions)

    def __str__(self) -> str:
        lines = [f"{number:3}. {sentence(action)}" for number, action in enumerate(self.actions, 1)]
        return "\n".join([f"{self.broken}, broken in {len(self)} steps:", *lines])


@dataclass(slots=True)
class Exploration(Generic[S]):
    """What was seen."""

    parents: dict[S, S | None]
    transitions: int = 0
    depth: int = 0
    happened: set[str] = field(default_factory=set)
    """The kinds of actions that occurred somewhere: the model is no proof of what never happens in it."""
    counterexample: Trace | None = None

    @property
    def states(self) -> int:
        """How many different states were reached."""
        return len(self.parents)

    def __str__(self) -> str:
        return f"{self.states:,} states, {self.transitions:,} transitions, {self.depth} steps deep"


def sentence(action: Action) -> str:
    """An action in words."""
    return str(action[0]).format(*action[1:])


def explore(model: Model[S], *, states_max: int = 5_000_000, progress: bool = False) -> Exploration[S]:
    """Every reachable state, or as far as the first broken promise. Raises TooManyStates rather than stop early and look like a proof."""
    start = model.start()
    seen = Exploration[S](parents={start: None})
    parents, happened = seen.parents, seen.happened
    frontier = [start]
    while frontier:
        found: list[S] = []
        for state in frontier:
            for action, after, broken in model.steps(state):
                seen.transitions += 1
                happened.add(action[0])  # type: ignore[arg-type]  # The first is always the sentence.
                if broken:
                    seen.counterexample = _trace(model, parents, state, (action, after, broken))
                    return seen
                if after not in parents:
                    parents[after] = state
                    found.append(after)
        if len(parents) > states_max:
            raise TooManyStates(f"more than {states_max:,} states within {seen.depth} steps; choose smaller bounds")
        seen.depth += bool(found)
        frontier = found
        if progress:
            print(f"depth {seen.depth:3}: {len(found):9,} new, {seen}", flush=True)  # noqa: T201 - asked for
    return seen


def _trace(model: Model[S], parents: dict[S, S | None], last: S, step: Step[S]) -> Trace:
    way = list(_way_back(parents, last))[::-1]
    actions = [_action_between(model, before, then) for before, then in pairwise(way)]
    action, _, broken = step
    return Trace(broken, (*actions, action))


def _way_back(parents: dict[S, S | None], state: S) -> Iterator[S]:
    at: S | None = state
    while at is not None:
        yield at
        at = parents[at]


def _action_between(model: Model[S], before: S, then: S) -> Action:
    return next(action for action, after, _ in model.steps(before) if after == then)
