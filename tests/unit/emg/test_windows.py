"""Windows, their amplitudes, and statistics over them."""

from __future__ import annotations

import statistics as standard

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.analytics import Statistics
from domain.emg.windows import mean_absolute_values, overlapping_windows, root_mean_squares, standard_deviations, statistics
from tests.unit.emg.recordings import noise


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 60), st.integers(1, 60))
def test_windows_start_at_every_step_while_they_fit(samples: int, length: int, step: int) -> None:
    x = np.arange(samples, dtype=np.float64)
    expected = [x[start : start + length].tolist() for start in range(0, samples, step) if start + length <= samples]
    assert overlapping_windows(x, length, step).tolist() == expected


def test_amplitudes_of_windows_are_those_of_their_samples() -> None:
    windows = overlapping_windows(noise(3000), 990, 495)
    for i, window in enumerate(windows):
        assert root_mean_squares(windows)[i] == pytest.approx(np.sqrt(np.mean(window**2)), rel=1e-13)
        assert mean_absolute_values(windows)[i] == pytest.approx(np.mean(np.abs(window)), rel=1e-13)
        assert standard_deviations(windows)[i] == pytest.approx(np.std(window), rel=1e-13)


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 1e6), min_size=3, max_size=50))
def test_statistics_agree_with_the_standard_library(values: list[float]) -> None:
    found = statistics(np.array(values))
    mean, std = standard.fmean(values), standard.stdev(values)
    assert found.mean == pytest.approx(mean, rel=1e-12)
    assert found.std == pytest.approx(std, rel=1e-6, abs=1e-9 * mean)
    assert (found.min, found.max, found.count) == (min(values), max(values), len(values))
    assert found.cv == pytest.approx(std / mean, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [1.0, 2.0, np.nan]])
def test_fewer_than_three_values_have_a_count_and_nothing_else(values: list[float]) -> None:
    count = sum(np.isfinite(values))
    assert statistics(np.array(values)) == Statistics(None, None, None, None, None, count)


def test_windows_without_a_value_are_left_out() -> None:
    found = statistics(np.array([1.0, np.nan, 2.0, 3.0, np.inf]))
    assert (found.mean, found.count) == (2.0, 3)


@pytest.mark.parametrize("values", [[-1.0, 0.0, 1.0], [-1.0, 1.0, 1e-308]])
def test_a_variation_around_nothing_is_none(values: list[float]) -> None:
    assert statistics(np.array(values)).cv is None
