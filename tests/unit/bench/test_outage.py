"""What is made of the calls of an outage."""

from __future__ import annotations

import pytest

from adapters.entrypoints.bench.ledger import Ledger, Seen
from adapters.entrypoints.bench.open_loop import Call
from adapters.entrypoints.bench.peers.ours import Ours, OursFar
from adapters.entrypoints.bench.peers.under_load import CashewsAside
from adapters.entrypoints.bench.works.outage import Moments, Run, turns

MOMENTS = Moments(begin_s=100.0, frozen_s=102.0, opened_s=102.1, resumed_s=104.0, killed_s=106.0, back_s=108.0, end_s=110.0)


def reads(begin_s: float, end_s: float, took_s: float, source: str = "near", error: str = "") -> list[Call]:
    """A hundred a second."""
    return [Call("read", begin_s + number / 100, took_s, source, error) for number in range(round(100 * (end_s - begin_s)))]


def run_of(calls: list[Call], ledger: Ledger | None = None, database: list[Call] | None = None, moments: Moments = MOMENTS) -> Run:
    return Run(calls, database or [], ledger or Ledger(), moments)


def test_the_way_that_is_held_to_what_is_asked_has_its_turn_after_each_of_the_others() -> None:
    assert turns([Ours, OursFar, CashewsAside]) == [Ours, OursFar, CashewsAside, OursFar]
    assert turns([Ours, CashewsAside]) == [Ours, CashewsAside]
    assert turns([OursFar]) == [OursFar]


def test_latency_is_that_of_reads_that_fell_due_in_the_window_beyond_the_databases_own() -> None:
    run = run_of(
        [*reads(100, 102, 0.001), *reads(102, 102.1, 0.103), *reads(102.1, 104, 0.004), Call("write", 103.0, 9.0)],
        database=reads(100, 104, 0.003),
    )
    assert run.p99_ms(run.moments.first_window()) == pytest.approx(103)
    assert run.added_ms(run.moments.first_window()) == pytest.approx(100)
    assert run.added_ms(run.moments.later_window()) == pytest.approx(1)


def test_who_has_no_breaker_has_two_deadlines_for_a_first_window() -> None:
    moments = Moments(100.0, 102.0, None, 104.0, 106.0, 108.0, 110.0)
    assert moments.first_window() == pytest.approx((102.0, 102.2))
    assert moments.later_window() == pytest.approx((102.2, 104.0))


def test_a_breaker_that_was_open_already_does_not_shorten_the_first_window_to_nothing() -> None:
    moments = Moments(100.0, 102.0, 102.0001, 104.0, 106.0, 108.0, 110.0)
    assert moments.first_window() == pytest.approx((102.0, 102.1))


def test_full_speed_after_the_return_is_looked_for_until_something_else_happens() -> None:
    run = run_of([*reads(100, 102, 0.001), *reads(102, 105, 0.001, "postgres"), *reads(105, 110, 0.001)])
    assert run.full_speed_s(MOMENTS.resumed_s, MOMENTS.killed_s) == pytest.approx(1.2)
    late = run_of([*reads(100, 102, 0.001), *reads(102, 106, 0.001, "postgres"), *reads(106, 110, 0.001)])
    assert late.full_speed_s(MOMENTS.resumed_s, MOMENTS.killed_s) == pytest.approx(2.0)  # All that was watched.


def test_errors_are_counted_by_what_they_are() -> None:
    run = run_of(
        [*reads(100, 100.02, 0.001, error="TimeoutError"), Call("write", 101.0, 0.1, error="TimeoutError"), *reads(101, 102, 0.001)]
    )
    assert run.errors() == 3
    assert run.error_names() == {"read: TimeoutError": 2, "write: TimeoutError": 1}


@pytest.mark.parametrize(
    ("began_s", "fresh", "promised", "expected"),
    [
        (12.9, False, False, 0),  # 2.9 s: within the bound and the trust in copies.
        (13.1, False, False, 1),
        (11.9, True, False, 0),  # A FRESH read whose writer was promised nothing has the bound alone.
        (12.1, True, False, 1),
        (10.5, True, True, 1),  # What was promised has to be seen at once.
        (10.5, False, True, 0),
    ],
)
def test_an_answer_is_wrong_if_it_is_older_than_is_promised(began_s: float, *, fresh: bool, promised: bool, expected: int) -> None:
    ledger = Ledger()
    ledger.committed("session", 1, "old", 5.0)
    ledger.committed("session", 2, "new", 10.0)
    if promised:
        ledger.promised("session", 2, "new", 10.0)
    ledger.seen += [Seen("session", "old", began_s, fresh), Seen("session", "new", 50.0, fresh=True)]
    assert run_of([], ledger).wrong() == expected
