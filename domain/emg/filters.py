"""Filters of the EMG analysis: zero-phase Butterworth and moving average."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal, cast

import numpy as np

from domain.emg.recording import Signal

# scipy.signal is imported where it is used: it takes a second to import, and most commands and services filter nothing.

Kind = Literal["highpass", "lowpass"]

# Polynomial coefficients lose about as many digits as this power of the cutoff is small (see `zero_phase_butterworth`).
_CONDITION_MIN: Final = 1e-7


def zero_phase_butterworth(x: Signal, sampling_rate_hz: float, *, kind: Kind, cutoff_hz: float, order: int, padding_samples: int) -> Signal:
    """x, shape (samples,), through a Butterworth filter forwards and backwards: nothing is shifted in time, attenuation counts twice.

    As `scipy.signal.filtfilt`: the ends are extended by `padding_samples` (less than the samples of x; 0 for none) of odd reflection, and
    each pass starts in the steady state of its first sample. 0 < cutoff_hz < sampling_rate_hz / 2.

    The filter is one polynomial, as in the reference implementations, while its coefficients are well conditioned, and second-order
    sections where they are not: poles crowd around z = 1 as (cutoff / Nyquist)^order falls. At 10 of 990 Hz the two agree within 2e-11 of
    the envelope's maximum, but where the envelope crosses zero that is more than 1e-9 of the value itself; at 10 of 10 000 Hz the
    polynomial is worse by far.
    """
    from scipy import signal  # noqa: PLC0415

    if (2 * cutoff_hz / sampling_rate_hz) ** order >= _CONDITION_MIN:
        b, a = _polynomials(order, cutoff_hz, kind, sampling_rate_hz)
        return signal.filtfilt(b, a, x, padtype="odd", padlen=padding_samples)
    sections = _sections(order, cutoff_hz, kind, sampling_rate_hz)
    return signal.sosfiltfilt(sections, x, padtype="odd", padlen=padding_samples)


# Kept, because a batch of recordings asks for the same two filters again and again.
@lru_cache(maxsize=32)
def _polynomials(order: int, cutoff_hz: float, kind: Kind, sampling_rate_hz: float) -> tuple[Signal, Signal]:
    from scipy import signal  # noqa: PLC0415

    return cast(tuple[Signal, Signal], signal.butter(order, cutoff_hz, btype=kind, fs=sampling_rate_hz, output="ba"))


@lru_cache(maxsize=32)
def _sections(order: int, cutoff_hz: float, kind: Kind, sampling_rate_hz: float) -> Signal:
    from scipy import signal  # noqa: PLC0415

    return cast(Signal, signal.butter(order, cutoff_hz, btype=kind, fs=sampling_rate_hz, output="sos"))


def moving_average(x: Signal, width_samples: int) -> Signal:
    """The mean of the `width_samples` (at least 1) around each sample of x, shape (samples,), as if zeros surrounded x.

    For an odd width the window is centred; for an even one it reaches one sample further back: 100 covers i - 50 … i + 49 (the "same"
    alignment of `numpy.convolve`). Sums of 2, 4, 8 … neighbours are built from one another, so the cost grows with the logarithm
    of the width. Unlike a running sum, no error is carried along the signal: quiet stretches after loud ones keep every digit,
    and zeros stay zero.
    """
    n = len(x)
    ahead = (width_samples - 1) // 2
    sums = np.zeros(n + width_samples - 1)
    sums[width_samples - 1 - ahead : width_samples - 1 - ahead + n] = x  # sums[i:i + width] is the window of sample i.
    total = np.zeros(n)
    covered, span = 0, 1  # `total` covers that many samples of each window; sums[i] is the sum of the `span` samples from i on.
    while True:
        if width_samples & span:
            total += sums[covered : covered + n]
            covered += span
        if covered == width_samples:
            return total / width_samples
        sums = sums[:-span] + sums[span:]
        span *= 2
