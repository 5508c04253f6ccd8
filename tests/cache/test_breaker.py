"""The breaker, under a clock of the test's."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.redis_cache.breaker import Breaker, BreakerState
from tests.strategies import examples


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def breaker(clock: Clock, *, failures_to_open: int = 3, open_s: float = 10.0, jitter: float = 0.5) -> Breaker:
    return Breaker(failures_to_open, open_s, clock=clock, jitter=lambda: jitter)


def opened(clock: Clock, jitter: float = 0.5) -> Breaker:
    ours = breaker(clock, jitter=jitter)
    for _ in range(3):
        assert ours.allows()
        ours.failed()
    return ours


def test_every_change_is_told_once_and_nothing_else() -> None:
    clock = Clock()
    told: list[BreakerState] = []
    ours = Breaker(2, 10.0, clock=clock, jitter=lambda: 0.5, on_change=told.append)
    ours.succeeded()
    ours.failed()
    assert told == []
    ours.failed()
    ours.failed()
    clock.now_s += 11
    assert ours.allows()
    assert not ours.allows()
    ours.abandoned()
    assert ours.allows()
    ours.failed()
    clock.now_s += 11
    assert ours.allows()
    ours.succeeded()
    ours.succeeded()
    opened, probed, closed = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED
    assert told == [opened, probed, opened, probed, opened, probed, closed]


def test_it_begins_closed_and_asks() -> None:
    ours = breaker(Clock())
    assert (ours.state, ours.allows()) == (BreakerState.CLOSED, True)


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    ours = breaker(Clock())
    for failures in range(3):
        assert ours.allows(), failures
        ours.failed()
    assert (ours.state, ours.allows()) == (BreakerState.OPEN, False)


def test_a_success_in_between_starts_the_row_again() -> None:
    ours = breaker(Clock())
    for _ in range(5):
        ours.failed()
        ours.failed()
        ours.succeeded()
    assert ours.state is BreakerState.CLOSED


def test_failing_to_connect_opens_at_once() -> None:
    ours = breaker(Clock())
    ours.failed(to_connect=True)
    assert ours.state is BreakerState.OPEN


def test_while_it_is_open_nobody_asks_until_its_time_is_over() -> None:
    clock = Clock()
    ours = opened(clock)
    clock.now_s += 9.99
    assert not ours.allows()
    clock.now_s += 0.02
    assert ours.allows()


def test_one_probe_at_a_time() -> None:
    clock = Clock()
    ours = opened(clock)
    clock.now_s += 11
    assert [ours.allows() for _ in range(5)] == [True, False, False, False, False]
    assert ours.state is BreakerState.HALF_OPEN


def test_a_probe_that_succeeds_closes() -> None:
    clock = Clock()
    ours = opened(clock)
    clock.now_s += 11
    assert ours.allows()
    ours.succeeded()
    assert ours.state is BreakerState.CLOSED
    ours.failed()
    ours.failed()
    assert ours.allows()


def test_a_probe_that_fails_opens_for_another_while() -> None:
    clock = Clock()
    ours = opened(clock)
    for _ in range(3):
        clock.now_s += 11
        assert ours.allows()
        ours.failed()
        assert not ours.allows()
        clock.now_s += 5
        assert not ours.allows()


def test_an_abandoned_probe_is_owed_again_at_once() -> None:
    clock = Clock()
    ours = opened(clock)
    clock.now_s += 11
    assert ours.allows()
    ours.abandoned()
    assert [ours.allows(), ours.allows()] == [True, False]


def test_abandoning_without_a_probe_changes_nothing() -> None:
    clock = Clock()
    ours = breaker(clock)
    ours.abandoned()
    assert ours.state is BreakerState.CLOSED
    ours = opened(clock)
    ours.abandoned()
    assert not ours.allows()


@pytest.mark.parametrize(("jitter", "wait_s"), [(0.0, 8.0), (0.5, 10.0), (1.0, 12.0)])
def test_processes_do_not_probe_at_one_moment(jitter: float, wait_s: float) -> None:
    clock = Clock()
    ours = opened(clock, jitter)
    clock.now_s += wait_s - 0.01
    assert not ours.allows()
    clock.now_s += 0.02
    assert ours.allows()


@given(steps=st.lists(st.sampled_from(["ask", "succeeded", "failed", "abandoned", "wait"]), max_size=60))
@examples(200)
def test_it_never_stays_shut_whatever_is_reported(steps: list[str]) -> None:
    clock = Clock()
    ours = breaker(clock)
    probing = False
    for step in steps:
        if step == "ask":
            was = ours.state
            allowed = ours.allows()
            assert allowed or was is not BreakerState.CLOSED
            assert not (probing and allowed)
            probing = probing or ours.state is BreakerState.HALF_OPEN
        elif step == "wait":
            clock.now_s += 13
        else:
            getattr(ours, step)()
            probing = False
    if ours.state is BreakerState.HALF_OPEN:
        ours.failed()
    clock.now_s += 13
    assert ours.allows()


def test_that_redis_refuses_us_is_told_once_until_it_lets_us_in(capsys: pytest.CaptureFixture[str]) -> None:
    ours = breaker(Clock())
    ours.failed(refused=True)
    ours.failed()
    assert not ours.refused
    ours.failed(refused=True)
    assert ours.refused
    assert capsys.readouterr().out.count("cache_refused") == 1
    ours.succeeded()
    assert not ours.refused
    ours.failed(refused=True)
    assert capsys.readouterr().out.count("cache_refused") == 1
