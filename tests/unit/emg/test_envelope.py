"""The linear envelope follows how hard the muscle works."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from domain.emg.envelope import estimated_mvc, linear_envelope
from domain.emg.recording import Signal
from tests.unit.emg.recordings import FS, noise


def envelope(x: Signal, smoothing_samples: int = 49) -> Signal:
    return linear_envelope(
        x,
        FS,
        highpass_hz=20.0,
        highpass_order=4,
        lowpass_hz=10.0,
        lowpass_order=4,
        padding_samples=15,
        smoothing_samples=smoothing_samples,
    )


def test_envelope_agrees_with_the_textbook_steps() -> None:
    x = noise(4000)
    sharp = signal.filtfilt(*signal.butter(4, 20.0 / (FS / 2), "high"), x)
    smooth = signal.filtfilt(*signal.butter(4, 10.0 / (FS / 2), "low"), np.abs(sharp))
    np.testing.assert_allclose(envelope(x), np.convolve(smooth, np.ones(49) / 49, "same"), rtol=1e-10)


@pytest.mark.parametrize("smoothing_samples", [0, 1])
def test_no_smoothing_means_no_moving_average(smoothing_samples: int) -> None:
    x = noise(2000)
    np.testing.assert_allclose(np.convolve(envelope(x, smoothing_samples), np.ones(49) / 49, "same"), envelope(x), rtol=1e-10)


def test_an_offset_leaves_no_trace() -> None:
    x = noise(4000)
    np.testing.assert_allclose(envelope(x + 1.0), envelope(x), rtol=1e-6, atol=1e-12)


def test_a_louder_muscle_has_a_higher_envelope() -> None:
    x = noise(4000)
    x[2000:] *= 10
    e = envelope(x)
    assert e[2500:3500].mean() == pytest.approx(10 * e[500:1500].mean(), rel=0.3)


def test_the_input_is_left_as_it_was() -> None:
    x = noise(2000)
    before = x.copy()
    envelope(x)
    np.testing.assert_array_equal(x, before)


def test_estimated_mvc_is_the_percentile_interpolated_linearly() -> None:
    assert estimated_mvc(np.arange(11, dtype=np.float64), 95.0) == pytest.approx(9.5)
