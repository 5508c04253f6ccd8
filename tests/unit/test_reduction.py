"""The reduction of signals keeps every peak."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from adapters.reduction import MinMaxReducer
from domain.emg.recording import Signal
from tests.strategies import examples
from tests.unit.emg.recordings import noise

REDUCER = MinMaxReducer()
signals = arrays.arrays(np.float64, st.integers(1, 3000), elements=st.floats(-1e6, 1e6, width=32))


def extremes_are_drawn(values: Signal, kept: NDArray[np.intp], points: int) -> bool:
    """Whether each sample has, within the length of a stretch, a kept one that is as low, and one that is as high."""
    stretch = int(np.ceil(len(values) / (points // 2)))
    for at in range(len(values)):
        near = kept[(kept >= at - stretch) & (kept <= at + stretch)]
        if not (values[near].min() <= values[at] <= values[near].max()):
            return False
    return True


@given(values=signals, points=st.integers(4, 400))
@examples(150)
def test_of_every_stretch_the_least_and_the_greatest_are_kept(values: Signal, points: int) -> None:
    kept = REDUCER.reduce(values, points)
    assert 1 <= len(kept) <= max(points, 1)
    assert (np.diff(kept) > 0).all()
    assert kept[0] >= 0
    assert kept[-1] < len(values)
    assert values[kept].min() == values.min()
    assert values[kept].max() == values.max()
    assert extremes_are_drawn(values, kept, points)


def test_leaving_out_all_but_every_nth_would_not_pass() -> None:
    values = noise(5000)
    values[1234] = 1.0
    assert not extremes_are_drawn(values, np.arange(0, 5000, 50), 100)
    assert 1234 in REDUCER.reduce(values, 100)


def test_a_signal_that_is_short_enough_is_kept_whole() -> None:
    for samples in (1, 2, 99, 100):
        assert REDUCER.reduce(noise(samples), 100).tolist() == list(range(samples))
    assert len(REDUCER.reduce(noise(101), 101)) == 101
    assert len(REDUCER.reduce(noise(102), 101)) <= 100


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_hides_no_peak(hole: float) -> None:
    values = noise(5000)
    values[1000:1010] = hole
    values[2345] = 1.0
    assert 2345 in REDUCER.reduce(values, 100)


def test_a_signal_of_nothing_is_reduced_as_well() -> None:
    kept = REDUCER.reduce(np.full(5000, np.nan), 100)
    assert 1 <= len(kept) <= 100


def test_strided_signals_are_reduced_alike() -> None:
    values = noise(6000)
    assert REDUCER.reduce(values[::3], 50).tolist() == REDUCER.reduce(values[::3].copy(), 50).tolist()


def test_it_travels_to_worker_processes() -> None:
    assert pickle.loads(pickle.dumps(REDUCER)) == REDUCER
