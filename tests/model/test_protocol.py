"""The protocol keeps its promises in every state within the bounds, and in those states everything of interest happens.

`python -m tests.model` explores more than CI has time for, or bounds of one's own.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model.explorer import explore, sentence
from tests.model.process import CachingProcess, ProcessBounds
from tests.model.process import State as ProcessState
from tests.model.protocol import Bounds, CoherenceProtocol, State

DELETED_IN_BETWEEN = frozenset({2})

PROTOCOL_BOUNDS = [
    Bounds(writes=2, readers=2),
    Bounds(writes=2, losses=1),
    Bounds(writes=3, deletes=DELETED_IN_BETWEEN, overlaps=False, retries=False),
    Bounds(writes=1, readers=2, failovers=1, retries=False),
    Bounds(writes=1, relays=2, losses=1),
    Bounds(writes=1, bound_ticks=3),
]

PROCESS_BOUNDS = [
    ProcessBounds(writes=1),
    ProcessBounds(writes=2, near_copy=False),
    ProcessBounds(writes=1, near_copy=False, failovers=1),
    ProcessBounds(writes=1, coalescing=False, losses=1),
]

OF_INTEREST = {
    "Reader {} is answered content {} from Redis",
    "Reader {} finds no heartbeat and asks the database",
    "Reader {} fills content {}",
    "Reader {} is refused to fill content {}",
    "The writer of content {} invalidates and has its receipt",
    "Relay {} applies what changed",
    "Relay {} begins a new epoch",
    "Relay {} is refused to apply",
    "The position is evicted",
    "FLUSHALL",
    "Failover to the replica (or: restore of the dump)",
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bounds", PROTOCOL_BOUNDS, ids=str)
def test_every_read_keeps_every_promise_whatever_happens(bounds: Bounds) -> None:
    seen = explore(CoherenceProtocol(bounds))
    print(seen)  # noqa: T201 - shown by -rP
    assert seen.counterexample is None, str(seen.counterexample)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bounds", PROCESS_BOUNDS, ids=str)
def test_shared_loads_and_near_copies_keep_every_promise_whatever_happens(bounds: ProcessBounds) -> None:
    seen = explore(CachingProcess(bounds))
    print(seen)  # noqa: T201
    assert seen.counterexample is None, str(seen.counterexample)


@pytest.mark.timeout(600)
def test_what_the_promises_are_about_does_happen() -> None:
    seen = explore(CoherenceProtocol(Bounds(writes=1, losses=1, reductions=False)))
    seen_with_failovers = explore(CoherenceProtocol(Bounds(writes=1, failovers=1, retries=False)))
    assert seen.happened | seen_with_failovers.happened >= OF_INTEREST


TOLD_APART = [Bounds(writes=1, readers=2), Bounds(writes=1, losses=1), Bounds(writes=1, readers=0, relays=2)]


@pytest.mark.parametrize("bounds", TOLD_APART, ids=str)
def test_taking_states_as_one_leaves_none_out_and_makes_none_up(bounds: Bounds) -> None:
    model = CoherenceProtocol(bounds)
    reduced = explore(model)
    whole = explore(CoherenceProtocol(replace(bounds, reductions=False)))
    assert whole.counterexample is None
    assert reduced.states < whole.states / 5
    assert set(map(model.canonical, whole.parents)) == set(reduced.parents)
    assert {what for what in whole.happened if "is refused" not in what} <= reduced.happened


def test_taking_states_of_a_process_as_one_leaves_none_out_and_makes_none_up() -> None:
    bounds = ProcessBounds(writes=1, coalescing=False)
    model = CachingProcess(bounds)
    reduced = set(explore(model).parents)
    whole = explore(CachingProcess(replace(bounds, reductions=False)))
    assert set(map(model.canonical, whole.parents)) == reduced


def test_of_all_who_joined_a_load_the_promises_owe_most_to_the_one_who_is_looked_at() -> None:
    """So none is left out who is owed more, and the states are otherwise the same."""
    bounds = ProcessBounds(writes=1, near_copy=False)
    model = CachingProcess(bounds)
    most: dict[ProcessState, int] = {}
    for state in explore(model).parents:
        most[state._replace(joiner=None)] = max(most.get(state._replace(joiner=None), 0), owed(state))
    whole = [model.canonical(state) for state in explore(CachingProcess(replace(bounds, reductions=False))).parents]
    assert {state._replace(joiner=None) for state in whole} == set(most)
    assert all(owed(state) <= most[state._replace(joiner=None)] for state in whole)


def owed(state: ProcessState) -> int:
    return 0 if state.joiner is None else max(state.joiner)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bounds", [Bounds(writes=1, losses=1), Bounds(writes=1, failovers=1)], ids=str)
def test_from_every_state_one_undisturbed_pass_brings_the_heartbeat_and_one_read_the_newest_content(bounds: Bounds) -> None:
    model = CoherenceProtocol(bounds)
    states = list(explore(model).parents)
    for state in states[:: len(states) // 5_000 + 1]:
        in_step = _after(model, state, "Relay 1 marks", "Relay 1 reads the change log", "Relay 1 applies", "Relay 1 begins a new epoch")
        heartbeat = in_step.redis.heartbeat
        assert heartbeat is not None
        assert heartbeat.left == bounds.bound_ticks
        # A lease whose holder is gone ends by itself, and so do the reads that are under way.
        calm = _after(model, in_step, "Reader 1 goes no further", "The lease expires")
        filled = _after(model, calm, "Reader 1 wants", "Reader 1 gets", "Reader 1 loads", "Reader 1 fills")
        assert filled.redis.entry is not None
        assert filled.redis.entry.epoch == heartbeat.epoch
        assert filled.redis.entry.content == filled.truth.latest


def _after(model: CoherenceProtocol, state: State, *beginnings: str) -> State:
    """After these steps in turn; one that cannot happen is left out."""
    for beginning in beginnings:
        state = next((after for action, after, _ in model.steps(state) if sentence(action).startswith(beginning)), state)
    return state
