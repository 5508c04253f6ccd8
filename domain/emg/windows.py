"""Overlapping windows of a signal, their amplitudes, and statistics over them."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from domain.analytics import Statistics
from domain.emg.recording import Signal

_VALUES_MIN = 3  # Two windows have a mean and a deviation, but they say nothing of a course.


def overlapping_windows(x: Signal, length_samples: int, step_samples: int) -> Signal:
    """The whole windows of x, shape (samples,) to (windows, length_samples): a read-only view. None fit: zero windows."""
    if len(x) < length_samples:
        return np.empty((0, length_samples))
    return sliding_window_view(x, length_samples)[::step_samples]


def root_mean_squares(windows: Signal) -> Signal:
    """√(mean x²) of each window, shape (windows, samples) to (windows,), in the unit of the signal."""
    powers: Signal = np.einsum("ws,ws->w", windows, windows) / windows.shape[-1]
    return np.sqrt(powers)


def mean_absolute_values(windows: Signal) -> Signal:
    """mean |x| of each window, shape (windows, samples) to (windows,), in the unit of the signal."""
    values: Signal = np.abs(windows).mean(axis=-1)
    return values


def standard_deviations(windows: Signal) -> Signal:
    """Standard deviation (ddof 0) of each window, shape (windows, samples) to (windows,), in the unit of the signal."""
    deviations: Signal = windows.std(axis=-1)
    return deviations


def statistics(values: Signal) -> Statistics:
    """Mean, deviation (ddof 1), extremes and coefficient of variation of the finite values; NaN means "this window has none"."""
    known = values[np.isfinite(values)]
    count = len(known)
    if count < _VALUES_MIN:
        return Statistics(mean=None, std=None, min=None, max=None, cv=None, count=count)
    mean, std = float(known.mean()), float(known.std(ddof=1))
    return Statistics(
        mean=mean, std=std, min=float(known.min()), max=float(known.max()), cv=_coefficient_of_variation(std, mean), count=count
    )


def _coefficient_of_variation(std: float, mean: float) -> float | None:
    if mean == 0:
        return None
    cv = std / mean
    return cv if math.isfinite(cv) else None
