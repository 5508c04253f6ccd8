"""Batched spectra agree with scipy's Welch, window by window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

import domain.emg.spectrum
from domain.emg.recording import Signal
from domain.emg.spectrum import fatigue_indices, frequencies_hz, mean_power_frequencies_hz, median_frequencies_hz, power_spectra
from domain.emg.windows import overlapping_windows
from tests.unit.emg.recordings import FS, noise


def welch(x: Signal, segment: int, overlap: int) -> tuple[Signal, Signal]:
    f, power = signal.welch(x, FS, "hann", segment, overlap)
    return f, power


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(2, 64), st.integers(0, 2**32 - 1))
def test_spectra_of_all_windows_equal_welch_of_each(data: st.DataObject, segment: int, seed: int) -> None:
    overlap = data.draw(st.integers(0, segment - 1))
    length = data.draw(st.integers(segment, 4 * segment))
    step = data.draw(st.integers(1, length))
    windows = overlapping_windows(noise(data.draw(st.integers(length, 6 * length)), seed=seed, level=1.0), length, step)
    found = power_spectra(windows, FS, segment_samples=segment, overlap_samples=overlap)
    for window, power in zip(windows, found, strict=True):
        f, expected = welch(window, segment, overlap)
        np.testing.assert_allclose(frequencies_hz(FS, segment), f)
        np.testing.assert_allclose(power, expected, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("block_samples", [1, 256 * 3, 256 * 20])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block_samples: int) -> None:
    windows = overlapping_windows(noise(9900), 990, 495)
    whole = power_spectra(windows, FS, segment_samples=256, overlap_samples=128)
    monkeypatch.setattr(domain.emg.spectrum, "_BLOCK_SAMPLES", block_samples)
    np.testing.assert_allclose(power_spectra(windows, FS, segment_samples=256, overlap_samples=128), whole, rtol=1e-12)


def test_frequencies_of_fatigue_agree_with_their_formulas() -> None:
    windows = overlapping_windows(noise(4000), 990, 495)
    power = power_spectra(windows, FS, segment_samples=256, overlap_samples=128)
    f_hz = frequencies_hz(FS, 256)
    for i, window in enumerate(windows):
        f, p = welch(window, 256, 128)
        assert mean_power_frequencies_hz(power, f_hz)[i] == pytest.approx(np.sum(f * p) / np.sum(p), rel=1e-12)
        assert median_frequencies_hz(power, f_hz)[i] == f[np.argmax(np.cumsum(p) >= 0.5 * np.sum(p))]
        assert fatigue_indices(power, f_hz)[i] == pytest.approx(np.sum(p[1:] / f[1:]) / np.sum(p[1:] * f[1:] ** 5), rel=1e-12)


def test_a_pure_tone_is_found_at_its_frequency() -> None:
    f_hz = frequencies_hz(FS, 256)
    tone = np.sin(2 * np.pi * f_hz[40] * np.arange(2560) / FS)
    power = power_spectra(tone[np.newaxis], FS, segment_samples=256, overlap_samples=128)
    assert mean_power_frequencies_hz(power, f_hz)[0] == pytest.approx(f_hz[40])
    assert median_frequencies_hz(power, f_hz)[0] == f_hz[40]


def test_the_fatigue_index_rises_as_the_spectrum_falls() -> None:
    f_hz = frequencies_hz(FS, 256)
    power = np.stack([np.exp(-(((f_hz - centre) / 30) ** 2)) for centre in (150.0, 100.0, 60.0)])
    assert np.all(np.diff(fatigue_indices(power, f_hz)) > 0)


def test_an_empty_spectrum_has_no_frequencies() -> None:
    nothing, f_hz = np.zeros((1, 129)), frequencies_hz(FS, 256)
    for metric in (mean_power_frequencies_hz, median_frequencies_hz, fatigue_indices):
        assert np.isnan(metric(nothing, f_hz)).all()


def test_a_spectrum_of_dc_alone_has_no_fatigue_index() -> None:
    assert np.isnan(fatigue_indices(np.ones((1, 1)), frequencies_hz(FS, 1))).all()
