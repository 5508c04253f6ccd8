"""The checker finds what it is there to find, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.history import Acknowledged, Answered, Committed, Event, History, Lost

BOUND_S = 2.0
TRUST_S = 1.0


def answered(version: int, began_s: float, freshness: str = "bounded", *, content: int | None = None, at_least: int = 0) -> Answered:
    content = version * 10 if content is None else content
    return Answered("k", version, content, began_s, began_s + 0.01, freshness, "redis", at_least)


def promises_broken(*events: Event) -> list[str]:
    found = History(events=list(events)).violations(bound_s=BOUND_S, near_trust_s=TRUST_S)
    return [violation.promise.partition(":")[0] for violation in found]


FIRST, SECOND = Committed("k", 1, 10, 100.0), Committed("k", 2, 20, 110.0)
TOLD = Acknowledged("k", 2, 109.9, 110.1)


@pytest.mark.parametrize(
    ("events", "broken"),
    [
        ([answered(1, 113.5)], ["G3"]),
        ([answered(0, 113.5, content=0)], ["G3"]),
        ([answered(1, 112.9)], []),
        ([answered(2, 113.5)], []),
        ([answered(3, 113.5)], []),
        ([answered(1, 112.5, "fresh")], ["G3"]),
        ([answered(1, 111.9, "fresh")], []),
        ([TOLD, answered(1, 110.2, "fresh")], ["G1"]),
        ([TOLD, answered(1, 110.05, "fresh")], []),
        ([TOLD, answered(1, 110.2)], []),
        ([TOLD, answered(2, 110.2, "fresh")], []),
        ([TOLD, answered(1, 113.2, "fresh")], ["G3", "G1"]),
        ([answered(1, 110.2, at_least=2)], ["G4"]),
        ([answered(2, 110.2, at_least=2)], []),
        ([answered(2, 110.2, content=10)], ["version 2 has the content 20"]),
    ],
)
def test_every_broken_promise_is_found_and_no_other(events: list[Event], broken: list[str]) -> None:
    assert promises_broken(FIRST, SECOND, *events) == broken
    assert promises_broken(*reversed([FIRST, SECOND, *events])) == broken


def test_another_key_s_writes_are_no_reproach() -> None:
    assert promises_broken(Committed("other", 9, 90, 1.0), Acknowledged("other", 9, 1.0, 1.0), FIRST, answered(1, 200.0, "fresh")) == []


@pytest.mark.parametrize(
    ("loss", "broken"),
    [
        (Lost(110.2, 110.3), []),  # Between the write and the read.
        (Lost(109.0, 109.95), []),  # While it was written: the old Redis may have acknowledged.
        (Lost(110.505, 110.6), []),  # While it was read.
        (Lost(108.0, 109.0), ["G1"]),
        (Lost(111.0, 112.0), ["G1"]),
    ],
)
def test_fresh_reads_are_excused_only_from_what_redis_lost_in_between(loss: Lost, broken: list[str]) -> None:
    assert promises_broken(FIRST, SECOND, TOLD, loss, answered(1, 110.5, "fresh")) == broken


def test_nothing_excuses_an_answer_beyond_the_bound() -> None:
    assert promises_broken(FIRST, SECOND, TOLD, Lost(100.0, 120.0), answered(1, 113.5)) == ["G3"]


def test_a_history_in_a_file_is_the_same_for_another_process(tmp_path: Path) -> None:
    noted = History(tmp_path / "events")
    for event in (FIRST, TOLD, answered(1, 3.0, at_least=4), Lost(1.0, 2.0)):
        noted.note(event)
    read = History()
    read.add_from(tmp_path / "events")
    read.add_from(tmp_path / "never written")
    assert read.events == noted.events
    assert read.sources() == {"redis"}


def test_a_violation_is_told_with_what_happened_around_it() -> None:
    elsewhere, much_earlier = Committed("other", 1, 1, 113.0), answered(1, 105.0)
    history = History(events=[answered(1, 113.5), SECOND, much_earlier, elsewhere, FIRST, answered(2, 113.6)])
    with pytest.raises(AssertionError) as caught:
        history.check(bound_s=BOUND_S, near_trust_s=TRUST_S)
    told = str(caught.value)
    assert "1 of 3 answers broke a promise" in told
    assert "-3.500 s  version 2 (20) was committed" in told
    assert "  >   +0.010 s" in told
    assert "113.0" not in told
    assert "-8.490 s" not in told
    History(events=[FIRST, SECOND, answered(2, 113.5)]).check(bound_s=BOUND_S, near_trust_s=TRUST_S)
