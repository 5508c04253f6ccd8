"""The linear envelope of surface EMG: how hard the muscle works, over time."""

from __future__ import annotations

import numpy as np

from domain.analytics import AnalysisParameters
from domain.emg.filters import moving_average, zero_phase_butterworth
from domain.emg.recording import Signal


def linear_envelope(
    x: Signal,
    sampling_rate_hz: float,
    *,
    highpass_hz: float,
    highpass_order: int,
    lowpass_hz: float,
    lowpass_order: int,
    padding_samples: int,
    smoothing_samples: int,
) -> Signal:
    """The envelope of raw EMG x, shape (samples,), in the unit of x and of the same shape.

    High-pass (movement artefacts and offset go), full-wave rectification, low-pass, moving average; all without phase shift, so that onsets
    stay where they are (Merletti and Di Torino, "Standards for reporting EMG data", J Electromyogr Kinesiol 9(1), 1999; Hermens et al.,
    SENIAM 8, 1999). The low-pass rings, so the envelope of a quiet muscle may dip slightly below zero.
    `smoothing_samples` 0 or 1 means: no moving average.
    """
    sharp = zero_phase_butterworth(
        x, sampling_rate_hz, kind="highpass", cutoff_hz=highpass_hz, order=highpass_order, padding_samples=padding_samples
    )
    smooth = zero_phase_butterworth(
        np.abs(sharp, out=sharp),
        sampling_rate_hz,
        kind="lowpass",
        cutoff_hz=lowpass_hz,
        order=lowpass_order,
        padding_samples=padding_samples,
    )
    return moving_average(smooth, smoothing_samples) if smoothing_samples > 1 else smooth


def envelope_as_analysed(x: Signal, sampling_rate_hz: float, parameters: AnalysisParameters) -> Signal:
    """The linear envelope with the filters that an analysis with these parameters uses."""
    return linear_envelope(
        x,
        sampling_rate_hz,
        highpass_hz=parameters.envelope_highpass_hz,
        highpass_order=parameters.envelope_highpass_order,
        lowpass_hz=parameters.envelope_lowpass_hz,
        lowpass_order=parameters.envelope_lowpass_order,
        padding_samples=parameters.envelope_padding_samples,
        smoothing_samples=int(parameters.envelope_smoothing_s * sampling_rate_hz),
    )


def estimated_mvc(envelope: Signal, percentile: float) -> float:
    """The maximum voluntary contraction guessed from the recording itself: a percentile of its envelope, interpolated linearly.

    A stand-in where no maximum was recorded: it is what the patient did, not what the patient could do.
    """
    return float(np.percentile(envelope, percentile))
