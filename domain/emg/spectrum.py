"""Power spectra of surface EMG and the frequencies that tell of fatigue, for any number of windows at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from domain.emg.recording import Signal

# Segments are transformed in blocks of so many samples (512 KiB): a block stays in a processor's cache, an hour's recording in memory, and
# the allocator uses the same pages again. Blocks of 2 MiB take three times as long: their arrays come from the system and go back.
_BLOCK_SAMPLES: Final = 1 << 16


def frequencies_hz(sampling_rate_hz: float, segment_samples: int) -> Signal:
    """The frequencies of a one-sided spectrum, shape (segment_samples // 2 + 1,), from 0 Hz to half the sampling rate."""
    return np.fft.rfftfreq(segment_samples, 1.0 / sampling_rate_hz).astype(np.float64)


def power_spectra(windows: Signal, sampling_rate_hz: float, *, segment_samples: int, overlap_samples: int) -> Signal:
    """The one-sided power spectral density of each window, in unit² per Hz: shape (windows, samples) to (windows, frequencies).

    Welch's method: segments with a periodic Hann window, the mean of each removed, their periodograms averaged (Welch, IEEE Trans Audio
    Electroacoust 15(2):70-3, 1967). Equals `scipy.signal.welch(window, fs, "hann", segment_samples, overlap_samples)` for each window, but
    all segments of all windows go through one batched transform. `windows` may be a strided view: nothing is copied but a block at a time.
    Windows must hold at least one segment.
    """
    hop = segment_samples - overlap_samples
    segments = sliding_window_view(windows, segment_samples, axis=-1)[:, ::hop]  # (windows, segments, samples), a view
    n_windows, n_segments, _ = segments.shape
    taper = _periodic_hann(segment_samples)
    power = np.zeros((n_windows, segment_samples // 2 + 1))
    per_block = max(1, _BLOCK_SAMPLES // segment_samples)
    windows_per_block, segments_per_block = max(1, per_block // n_segments), min(n_segments, per_block)
    for i in range(0, n_windows, windows_per_block):
        for j in range(0, n_segments, segments_per_block):
            block = segments[i : i + windows_per_block, j : j + segments_per_block]
            transform = np.fft.rfft((block - block.mean(axis=-1, keepdims=True)) * taper)
            power[i : i + windows_per_block] += np.einsum("wsf,wsf->wf", transform.real, transform.real)
            power[i : i + windows_per_block] += np.einsum("wsf,wsf->wf", transform.imag, transform.imag)
    power /= n_segments * sampling_rate_hz * np.sum(taper**2)
    # One-sided: each frequency stands for its negative twin too, except 0 Hz and, for an even length, half the sampling rate.
    power[:, 1 : (segment_samples + 1) // 2] *= 2.0
    return power


def mean_power_frequencies_hz(power: Signal, f_hz: Signal) -> Signal:
    """Σ f·P / Σ P of each spectrum, shape (spectra, frequencies) to (spectra,); NaN where a spectrum is empty."""
    return _quotient(power @ f_hz, power.sum(axis=-1))


def median_frequencies_hz(power: Signal, f_hz: Signal) -> Signal:
    """The first frequency at or below which half the power of each spectrum lies, not interpolated; NaN where a spectrum is empty.

    Stulen and De Luca, IEEE Trans Biomed Eng 28(7):515-23, 1981.
    """
    total = power.sum(axis=-1)
    reached = np.cumsum(power, axis=-1) >= 0.5 * total[:, np.newaxis]
    return np.where(total > 0, f_hz[np.argmax(reached, axis=-1)], np.nan)


def fatigue_indices(power: Signal, f_hz: Signal) -> Signal:
    """Dimitrov's FInsm5, Σ P·f⁻¹ / Σ P·f⁵ over f > 0, of each spectrum; it rises with fatigue, by orders of magnitude. NaN where undefined.

    Spectral moments of order -1 and 5: Dimitrov et al., Med Sci Sports Exerc 38(11):1971-9, 2006.
    """
    above_dc, f = power[:, 1:], f_hz[1:]
    return _quotient(above_dc @ (1.0 / f), above_dc @ f**5)


def _periodic_hann(samples: int) -> Signal:
    """Periodic, unlike `numpy.hanning`: the period is `samples`, as spectra want it."""
    if samples == 1:
        return np.ones(1)
    phase = np.arange(samples, dtype=np.float64) * (2.0 * np.pi / samples)
    return 0.5 - 0.5 * np.cos(phase)


def _quotient(numerator: Signal, denominator: Signal) -> Signal:
    defined: NDArray[np.bool_] = denominator > 0
    quotient = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=defined)
    return quotient
