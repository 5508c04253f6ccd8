"""Filters agree with slow and straightforward ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import signal

from domain.emg.filters import Kind, moving_average, zero_phase_butterworth
from domain.emg.recording import Signal
from tests.unit.emg.recordings import noise

signals = arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e6, 1e6, allow_subnormal=False))


@settings(deadline=None)
@given(signals, st.data())
def test_moving_average_is_the_same_alignment_of_a_convolution(x: Signal, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, len(x)))
    np.testing.assert_allclose(moving_average(x, width), np.convolve(x, np.ones(width) / width, "same"), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("width", [1, 2, 49, 100])
def test_moving_average_covers_one_sample_more_behind_than_ahead_for_even_widths(width: int) -> None:
    impulse = np.zeros(1000)
    impulse[500] = 1.0
    reached = np.flatnonzero(moving_average(impulse, width))
    assert (500 - reached[0], reached[-1] - 500) == ((width - 1) // 2, width // 2)


def test_moving_average_leaves_silence_silent_after_a_loud_stretch() -> None:
    x = np.concatenate([np.full(500, 1e9), np.zeros(500)])
    assert not moving_average(x, 100)[550:].any()


def test_moving_average_wider_than_the_signal_sees_zeros_around_it() -> None:
    np.testing.assert_allclose(moving_average(np.ones(4), 10), 0.4)


@pytest.mark.parametrize(("kind", "cutoff_hz", "fs"), [("highpass", 20.0, 990.0), ("lowpass", 10.0, 990.0), ("lowpass", 10.0, 10_000.0)])
def test_zero_phase_filter_agrees_with_second_order_sections(kind: Kind, cutoff_hz: float, fs: float) -> None:
    x = noise(5000, level=1.0)
    sections = signal.butter(4, cutoff_hz, kind, fs=fs, output="sos")
    found = zero_phase_butterworth(x, fs, kind=kind, cutoff_hz=cutoff_hz, order=4, padding_samples=15)
    np.testing.assert_allclose(found, signal.sosfiltfilt(sections, x, padlen=15), rtol=0, atol=1e-9)


def test_badly_conditioned_filters_stay_stable() -> None:
    step = np.concatenate([np.zeros(20_000), np.ones(20_000)])
    smooth = zero_phase_butterworth(step, 20_000.0, kind="lowpass", cutoff_hz=5.0, order=8, padding_samples=15)
    assert np.abs(smooth).max() < 1.5
    assert smooth[30_000] == pytest.approx(1.0, abs=0.05)


def test_zero_phase_filter_does_not_shift_a_peak() -> None:
    t = np.arange(-1000, 1000) / 990.0
    bump = np.exp(-((t / 0.1) ** 2))
    smooth = zero_phase_butterworth(bump, 990.0, kind="lowpass", cutoff_hz=10.0, order=4, padding_samples=15)
    assert np.argmax(smooth) == np.argmax(bump)
