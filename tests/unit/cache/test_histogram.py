"""Durations in buckets: every observation is in one, and a percentile is as near as its bucket."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.redis_cache.histogram import BOUNDS_S, Histogram, HistogramSnapshot, from_integers, to_integers
from tests.strategies import examples

WIDTH = 10 ** (1 / 5)

durations = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=200)


def observed(values: list[float]) -> HistogramSnapshot:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    return histogram.snapshot()


def test_the_buckets_have_not_changed() -> None:
    """Those in Redis are added to by every version of the program."""
    assert len(BOUNDS_S) == 36
    assert BOUNDS_S[:6] == (1e-6, 1.58e-6, 2.51e-6, 3.98e-6, 6.31e-6, 1e-5)
    assert BOUNDS_S[-1] == 10.0
    assert sorted(set(BOUNDS_S)) == list(BOUNDS_S)


@given(values=durations)
@examples(100)
def test_nothing_observed_is_lost(values: list[float]) -> None:
    snapshot = observed(values)
    assert snapshot.count == len(values)
    assert snapshot.sum_s == pytest.approx(sum(values))
    for bound_s, count in snapshot.cumulative():
        assert count == sum(value <= bound_s for value in values)


@given(values=durations, percent=st.floats(0.1, 100.0))
@examples(200)
def test_a_percentile_is_as_near_as_its_bucket_is_wide(values: list[float], percent: float) -> None:
    exact = sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
    found = observed(values).percentile_s(percent)
    assert found is not None
    assert exact / WIDTH * 0.99 <= found <= exact * WIDTH * 1.01


@given(values=durations)
@examples(50)
def test_percentiles_grow(values: list[float]) -> None:
    snapshot = observed(values)
    found = [snapshot.percentile_s(percent) or 0.0 for percent in range(1, 101)]
    assert found == sorted(found)


def test_of_nothing_there_is_no_percentile() -> None:
    assert observed([]).percentile_s(50) is None
    assert list(observed([]).cumulative())[-1] == (float("inf"), 0)


def test_what_is_off_the_scale_is_counted_at_its_ends() -> None:
    snapshot = observed([0.0, -1e-9, 1e-9, 1e6])
    assert (snapshot.counts[0], snapshot.counts[-1], snapshot.count) == (3, 1, 4)
    assert snapshot.percentile_s(100) == 10.0


@given(one=durations, other=durations)
@examples(50)
def test_what_several_processes_observed_adds_up(one: list[float], other: list[float]) -> None:
    together = Counter(to_integers("latency", observed(one))) + Counter(to_integers("latency", observed(other)))
    found = from_integers("latency", together)
    assert found.counts == observed(one + other).counts
    assert found.sum_s == pytest.approx(sum(one + other), abs=1e-8)


def test_what_was_not_observed_takes_no_room() -> None:
    assert to_integers("latency", observed([])) == {}
    assert to_integers("latency", observed([1e-6, 3.0])) == {"latency:1e-06": 1, "latency:3.98": 1, "latency:sum_ns": 3_000_001_000}
    assert from_integers("latency", {"latency:7": 5, "other:1e-06": 3}) == observed([])
