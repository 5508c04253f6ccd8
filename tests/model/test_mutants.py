"""Every ingredient of the protocol is needed: leave one out, and the model finds a way to break a promise.

A mutant says which promise breaks, in how many steps at least, and what has to go wrong besides ordinary interleaving. Run with -rP to
read the ways.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from tests.model.explorer import Trace, explore, sentence
from tests.model.process import OWN_WRITES, CachingProcess, ProcessBounds, ProcessRules
from tests.model.protocol import AT_LEAST, BOUNDED, FRESH, Bounds, CoherenceProtocol, State
from tests.model.rules import Rules

Fault = Literal["none", "loss", "failover"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """The protocol with something left out."""

    rules: Rules
    breaks: str
    steps: int
    needs: Fault = "none"
    writes: int = 1
    deletes: frozenset[int] = field(default_factory=frozenset)

    def bounds(self, fault: Fault) -> Bounds:
        """Small ones, with the trace to be told."""
        losses, failovers = int(fault == "loss"), int(fault == "failover")
        retries = not self.rules.unchanged_save_invalidates
        return Bounds(
            writes=self.writes, deletes=self.deletes, retries=retries, losses=losses, failovers=failovers, reductions=False
        )  # fmt: skip


MUTANTS = {
    "whoever loaded may fill": Mutant(rules=Rules(fill_needs="nothing"), breaks=FRESH, steps=11),
    # After an invalidation there is no version left to compare with.
    "versions are compared instead of leases": Mutant(rules=Rules(fill_needs="newer version"), breaks=FRESH, steps=11),
    "a deletion leaves the lease": Mutant(rules=Rules(delete_voids_lease=False), breaks=FRESH, steps=13, writes=2, deletes=frozenset({2})),
    "a lease outlives what was told after it was given": Mutant(
        rules=Rules(lease_voided_below="any floor"), breaks=FRESH, steps=14, writes=2
    ),
    # It may be newer than what was read.
    "the version of an absence is asked for after it was read": Mutant(
        rules=Rules(absent_version="asked afterwards"), breaks=AT_LEAST, steps=10
    ),
    "a deletion takes the version counter with it": Mutant(
        rules=Rules(versions_survive_deletes=False), breaks=AT_LEAST, steps=14, writes=3, deletes=frozenset({2})
    ),
    "writers store what they wrote": Mutant(rules=Rules(writer_sends="value"), breaks=FRESH, steps=10, writes=2),
    # The retry of a save whose invalidation never arrived, or another process saving the same.
    "a save that changes nothing does not invalidate": Mutant(rules=Rules(unchanged_save_invalidates=False), breaks=FRESH, steps=11),
    "the heartbeat dates from the apply": Mutant(rules=Rules(heartbeat_dates_from="apply"), breaks=BOUNDED, steps=15),
    "the log is read from the last change seen": Mutant(rules=Rules(log_read_from="last seen"), breaks=BOUNDED, steps=17, writes=2),
    "a lost position begins no epoch": Mutant(rules=Rules(lost_position_begins_epoch=False), breaks=BOUNDED, steps=16, needs="loss"),
    "readers believe entries of any epoch": Mutant(rules=Rules(readers_compare_epochs=False), breaks=BOUNDED, steps=16, needs="loss"),
    "an entry has the epoch of its fill": Mutant(rules=Rules(entry_epoch_of="fill"), breaks=BOUNDED, steps=16, needs="loss"),
    "the position is kept in the relay": Mutant(rules=Rules(position_kept_in="relay"), breaks=BOUNDED, steps=20, needs="failover"),
    # In the most careful order (invalidations, position, heartbeat) and with all checks before each.
    "apply is three scripts": Mutant(rules=Rules(apply_is_atomic=False), breaks=BOUNDED, steps=21, needs="failover"),
    "apply checks neither nonce nor position": Mutant(
        rules=Rules(apply_checks_nonce=False, apply_checks_position=False), breaks=BOUNDED, steps=20, needs="failover"
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_without_this_ingredient_a_promise_breaks(mutant: Mutant) -> None:
    trace = explore(CoherenceProtocol(mutant.bounds(mutant.needs), mutant.rules)).counterexample
    _expect(trace, mutant.breaks, mutant.steps)
    if mutant.needs != "none":
        seen = explore(CoherenceProtocol(replace(mutant.bounds("none"), reductions=True), mutant.rules))
        assert seen.counterexample is None, "it takes less than it is said to need"


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_taking_states_as_one_hides_no_broken_promise(mutant: Mutant) -> None:
    reduced = explore(CoherenceProtocol(replace(mutant.bounds(mutant.needs), reductions=True), mutant.rules)).counterexample
    assert reduced is not None
    assert reduced.broken == mutant.breaks


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMutant:
    """The process with something left out."""

    rules: ProcessRules
    breaks: str
    steps: int
    joins: bool = False
    """It is about joining loads, not about the near copy."""
    failovers: int = 0


PROCESS_MUTANTS = {
    "whoever joined takes what was loaded": ProcessMutant(rules=ProcessRules(joiner_needs="nothing"), joins=True, breaks=FRESH, steps=8),
    # The fill was accepted before the write; its answer is still on its way when the read begins after the receipt.
    "reads join until the fill is answered": ProcessMutant(
        rules=ProcessRules(joins_until="fill answered"), joins=True, breaks=FRESH, steps=9
    ),
    "reads join loads of any age": ProcessMutant(rules=ProcessRules(joins_loads="of any age"), joins=True, breaks=BOUNDED, steps=10),
    # The failover brings back the lease that the relay had voided.
    "reads that saw a heartbeat join loads of any age": ProcessMutant(
        rules=ProcessRules(joins_loads="of any age, seeing a heartbeat"), joins=True, breaks=BOUNDED, steps=13, failovers=1
    ),
    "the near copy answers fresh reads": ProcessMutant(rules=ProcessRules(near_copy_answers="every read"), breaks=FRESH, steps=7),
    "the near copy is checked by version alone": ProcessMutant(rules=ProcessRules(near_copy_checked_by="version"), breaks=BOUNDED, steps=8),
    "trust in the near copy dates from the answer": ProcessMutant(rules=ProcessRules(trust_dates_from="answer"), breaks=BOUNDED, steps=9),
    "own writes leave the near copy": ProcessMutant(rules=ProcessRules(near_copy_dropped_at="never"), breaks=OWN_WRITES, steps=8),
    # Between COMMIT and INVALIDATE a read may bring the old content back.
    "own writes drop the near copy at commit": ProcessMutant(rules=ProcessRules(near_copy_dropped_at="commit"), breaks=OWN_WRITES, steps=8),
    "requests sent before an own write bring the copy back": ProcessMutant(
        rules=ProcessRules(drop_outdates_requests=False), breaks=OWN_WRITES, steps=8
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", PROCESS_MUTANTS.values(), ids=PROCESS_MUTANTS.keys())
def test_without_this_care_in_the_process_a_promise_breaks(mutant: ProcessMutant) -> None:
    bounds = ProcessBounds(writes=1, failovers=mutant.failovers, near_copy=not mutant.joins, coalescing=mutant.joins, reductions=False)
    trace = explore(CachingProcess(bounds, mutant.rules)).counterexample
    _expect(trace, mutant.breaks, mutant.steps)
    reduced = explore(CachingProcess(replace(bounds, reductions=True), mutant.rules)).counterexample
    assert reduced is not None, "taking states as one hides it"
    assert reduced.broken == mutant.breaks


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bounds", [Bounds(writes=1, failovers=1, retries=False), Bounds(writes=1, relays=2, retries=False)], ids=str)
@pytest.mark.parametrize("rules", [Rules(apply_checks_nonce=False), Rules(apply_checks_position=False)], ids=["no nonce", "no position"])
def test_of_nonce_and_position_either_would_do(bounds: Bounds, rules: Rules) -> None:
    """Defence in depth, not two ingredients. The position says which state the keys are in: every change before it was applied to them,
    in this history, and those after it come with the APPLY; who has the right position may apply, wherever the MARK went. And whoever has
    the mark knows the position, because nobody moves it without a MARK of his own."""
    seen = explore(CoherenceProtocol(bounds, rules))
    assert seen.counterexample is None, str(seen.counterexample)


def test_the_nonce_lets_two_relays_undo_each_other_for_ever_and_the_position_alone_does_not() -> None:
    """The price of the nonce: every MARK ends the pass under way, so where relays mark more often than a pass takes, none succeeds."""
    round_of_two = ["Relay 2 marks", "Relay 1 reads", "Relay 1 is refused", "Relay 1 marks", "Relay 2 reads", "Relay 2 is refused"]
    bounds = Bounds(writes=1, relays=2, reductions=False)
    with_nonce = CoherenceProtocol(bounds)
    begun = _after(with_nonce, with_nonce.start(), ["Relay 1 marks"])
    assert _after(with_nonce, begun, round_of_two) == begun
    by_position = CoherenceProtocol(bounds, Rules(apply_checks_nonce=False))
    begun = _after(by_position, by_position.start(), ["Relay 1 marks", "Relay 2 marks", "Relay 1 reads", "Relay 1 begins a new epoch"])
    assert begun.redis.heartbeat is not None


def _expect(trace: Trace | None, breaks: str, steps: int) -> None:
    assert trace is not None, "this mutant keeps its promises: look for another fault, or do without the ingredient"
    print(trace)  # noqa: T201 - shown by -rP
    assert (trace.broken, len(trace)) == (breaks, steps)


def _after(model: CoherenceProtocol, state: State, beginnings: list[str]) -> State:
    for beginning in beginnings:
        state = next(after for action, after, _ in model.steps(state) if sentence(action).startswith(beginning))
    return state
