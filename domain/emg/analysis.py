"""The analysis of one recording: from signals to session analytics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import numpy as np

from domain.analytics import (
    AnalysisParameters,
    ChannelAnalytics,
    EnvelopeStatistics,
    Mvc,
    MvcSource,
    SessionAnalytics,
    SessionSummary,
    Statistics,
    WindowStatistics,
    overall_compliance,
)
from domain.emg.contractions import activity_runs, measured, summarise
from domain.emg.envelope import envelope_as_analysed, estimated_mvc
from domain.emg.recording import Channel, Recording, Signal
from domain.emg.spectrum import fatigue_indices, frequencies_hz, mean_power_frequencies_hz, median_frequencies_hz, power_spectra
from domain.emg.windows import mean_absolute_values, overlapping_windows, root_mean_squares, standard_deviations, statistics
from domain.errors import InvalidParameters, InvalidRecording
from domain.session import SessionId, session_id_of

_FLAT: Final = 1e-10  # Standard deviation below which a signal carries no EMG, in whatever unit; electrodes have more noise.
_AMPLITUDE_MAX: Final = 1e100  # No amplifier gives more; below it, squares and fifth powers of frequencies cannot overflow.
_CHANNELS_SHOWN: Final = 5


def analyse(
    recording: Recording, parameters: AnalysisParameters, *, processed_at: datetime, session_id: SessionId | None = None
) -> SessionAnalytics:
    """Everything the analysis finds in a recording. Channels come in sorted order of names; the result holds no NaN and no infinity.

    `session_id` None: the session's identity is that of the recording's bytes.

    A channel that cannot be analysed is kept, with None for its metrics and the reasons in `problems`. Raises InvalidRecording if no
    channel can be analysed, InvalidParameters if the parameters do not fit the sampling rate.
    """
    facts = recording.facts
    _check_windows(parameters, facts.sampling_rate_hz)
    channels: list[ChannelAnalytics] = []
    obstacles: dict[str, tuple[str, ...]] = {}
    for channel in sorted(recording.channels, key=lambda channel: channel.name):
        found = tuple(_obstacles(channel.raw, parameters, facts.sampling_rate_hz))
        if found:
            obstacles[channel.name] = found
            channels.append(_unanalysed(channel.name, parameters, found))
        else:
            channels.append(_analysed(channel, parameters, facts.sampling_rate_hz))
    if len(obstacles) == len(channels):
        raise InvalidRecording(facts.file_name, _no_usable_channel(obstacles))
    return SessionAnalytics(
        schema=1,
        session_id=session_id or session_id_of(facts.sha256),
        recording=facts,
        parameters=parameters,
        channels=tuple(channels),
        summary=SessionSummary(
            channel_count=len(channels),
            overall_compliance=overall_compliance({channel.name: channel.contractions.compliance_rate for channel in channels}),
            processed_at=processed_at,
        ),
    )


def _analysed(channel: Channel, parameters: AnalysisParameters, sampling_rate_hz: float) -> ChannelAnalytics:
    """One channel without obstacles."""
    x = channel.raw
    f_hz = frequencies_hz(sampling_rate_hz, parameters.spectrum_segment_samples)
    whole = x[np.newaxis, :]
    spectrum = _spectra(whole, parameters, sampling_rate_hz)
    problems: list[str] = []

    envelope = envelope_as_analysed(x, sampling_rate_hz, parameters)
    mvc = _mvc(channel.name, parameters, envelope)
    if mvc.value is None:
        problems.append("the envelope is too low for an estimate of the maximum voluntary contraction")

    timing, onset_fraction = envelope, parameters.onset_fraction_envelope
    if channel.activated is not None and np.all(np.abs(channel.activated) <= _AMPLITUDE_MAX):  # False for NaN and infinity too.
        timing, onset_fraction = channel.activated, parameters.onset_fraction_activated
    elif channel.activated is not None:
        problems.append("the activity signal has samples that are no amplitudes, so contractions are timed by the envelope")
    runs = activity_runs(
        timing,
        onset_fraction=onset_fraction,
        smoothing_samples=parameters.onset_smoothing_samples,
        length_samples_min=int(parameters.contraction_length_s_min * sampling_rate_hz),
        gap_samples_max=int(parameters.contraction_gap_s_max * sampling_rate_hz),
        length_samples_max=int(parameters.contraction_length_s_max * sampling_rate_hz),
    )
    contractions = [
        measured(run, envelope, sampling_rate_hz, threshold=mvc.threshold, duration_ms_min=parameters.duration_threshold_ms) for run in runs
    ]
    window_statistics, window_problems = _window_statistics(x, parameters, sampling_rate_hz)
    return ChannelAnalytics(
        name=channel.name,
        rms=float(root_mean_squares(whole)[0]),
        mav=float(mean_absolute_values(whole)[0]),
        mpf_hz=_finite(mean_power_frequencies_hz(spectrum, f_hz)[0]),
        mdf_hz=_finite(median_frequencies_hz(spectrum, f_hz)[0]),
        fi_nsm5=_finite(fatigue_indices(spectrum, f_hz)[0]),
        windows=window_statistics,
        envelope=EnvelopeStatistics(
            mean=float(envelope.mean()), std=float(envelope.std()), min=float(envelope.min()), max=float(envelope.max())
        ),
        mvc=mvc,
        contractions=summarise(contractions),
        problems=(*problems, *window_problems),
    )


def _unanalysed(name: str, parameters: AnalysisParameters, problems: tuple[str, ...]) -> ChannelAnalytics:
    """A channel with obstacles: a maximum that was given is still known, everything measured is not."""
    nothing = Statistics(mean=None, std=None, min=None, max=None, cv=None, count=0)
    return ChannelAnalytics(
        name=name,
        rms=None,
        mav=None,
        mpf_hz=None,
        mdf_hz=None,
        fi_nsm5=None,
        windows=WindowStatistics(rms=nothing, mav=nothing, mpf_hz=nothing, mdf_hz=nothing, fi_nsm5=nothing),
        envelope=EnvelopeStatistics(mean=None, std=None, min=None, max=None),
        mvc=_mvc(name, parameters, None),
        contractions=summarise([]),
        problems=problems,
    )


def _obstacles(x: Signal, parameters: AnalysisParameters, sampling_rate_hz: float) -> Iterator[str]:
    """Why a raw signal cannot be analysed, in sentences; nothing if it can."""
    cutoff_hz = max(parameters.envelope_highpass_hz, parameters.envelope_lowpass_hz)
    if sampling_rate_hz <= 2 * cutoff_hz:
        yield f"is sampled at {sampling_rate_hz:g} Hz, too slow for a filter at {cutoff_hz:g} Hz: it needs more than {2 * cutoff_hz:g} Hz"
    needed, needed_by = max(
        (parameters.spectrum_segment_samples, "a spectrum segment"),
        (parameters.envelope_padding_samples + 1, "the padding of the envelope's filters"),
        (int(parameters.envelope_smoothing_s * sampling_rate_hz), "the smoothing of the envelope"),
        (parameters.onset_smoothing_samples, "the smoothing of the onset detection"),
    )
    if len(x) < needed:
        yield f"has {len(x)} samples, too few for {needed_by}: {needed} are needed"
    unusable = len(x) - np.count_nonzero(np.isfinite(x))
    if unusable:
        yield f"{unusable} of {len(x)} samples are no finite numbers"
    elif len(x) and np.abs(x).max() > _AMPLITUDE_MAX:
        yield f"has samples beyond ±{_AMPLITUDE_MAX:g}, which no amplifier gives"
    elif len(x) and x.std() < _FLAT:
        yield f"is flat: the standard deviation is below {_FLAT:g}"


def _mvc(name: str, parameters: AnalysisParameters, envelope: Signal | None) -> Mvc:
    """The channel's own maximum before the session's before an estimate from the envelope, if there is one and it shows any activity."""
    value: float | None
    source: MvcSource
    if name in parameters.mvc_by_channel:
        value, source = parameters.mvc_by_channel[name], "channel"
    elif parameters.mvc_session is not None:
        value, source = parameters.mvc_session, "session"
    else:
        value, source = None if envelope is None else estimated_mvc(envelope, parameters.mvc_estimate_percentile), "estimated"
        if value is not None and not value > 0:
            value = None
    percent = parameters.mvc_threshold_percent
    threshold = None if value is None else _finite(value * percent / 100.0)
    return Mvc(value=value, source=source, threshold=threshold, threshold_percent=percent)


def _window_statistics(x: Signal, parameters: AnalysisParameters, sampling_rate_hz: float) -> tuple[WindowStatistics, list[str]]:
    """Statistics over all windows of a channel, and why some are missing. A flat window has amplitudes but no frequencies."""
    length = int(parameters.window_length_s * sampling_rate_hz)
    windows = overlapping_windows(x, length, int(length * parameters.window_step_fraction))
    mpf_hz, mdf_hz, fi_nsm5 = np.full((3, len(windows)), np.nan)
    problems: list[str] = []
    if length < parameters.spectrum_segment_samples:
        problems.append(
            f"windows of {length} samples are shorter than a spectrum segment of {parameters.spectrum_segment_samples}: "
            "they have no frequencies"
        )
    elif len(windows):
        f_hz = frequencies_hz(sampling_rate_hz, parameters.spectrum_segment_samples)
        alive = standard_deviations(windows) >= _FLAT
        spectra = _spectra(windows, parameters, sampling_rate_hz)[alive]
        mpf_hz[alive] = mean_power_frequencies_hz(spectra, f_hz)
        mdf_hz[alive] = median_frequencies_hz(spectra, f_hz)
        fi_nsm5[alive] = fatigue_indices(spectra, f_hz)
    return WindowStatistics(
        rms=statistics(root_mean_squares(windows)),
        mav=statistics(mean_absolute_values(windows)),
        mpf_hz=statistics(mpf_hz),
        mdf_hz=statistics(mdf_hz),
        fi_nsm5=statistics(fi_nsm5),
    ), problems


def _spectra(windows: Signal, parameters: AnalysisParameters, sampling_rate_hz: float) -> Signal:
    return power_spectra(
        windows,
        sampling_rate_hz,
        segment_samples=parameters.spectrum_segment_samples,
        overlap_samples=parameters.spectrum_overlap_samples,
    )


def _check_windows(parameters: AnalysisParameters, sampling_rate_hz: float) -> None:
    length = int(parameters.window_length_s * sampling_rate_hz)
    if int(length * parameters.window_step_fraction) < 1:
        raise InvalidParameters(
            f"window_length_s {parameters.window_length_s:g} with window_step_fraction {parameters.window_step_fraction:g} "
            f"makes steps of less than one sample at {sampling_rate_hz:g} Hz"
        )
    if int(parameters.contraction_length_s_max * sampling_rate_hz) < 1:
        raise InvalidParameters(
            f"contraction_length_s_max {parameters.contraction_length_s_max:g} is less than one sample at {sampling_rate_hz:g} Hz"
        )


def _no_usable_channel(obstacles: dict[str, tuple[str, ...]]) -> str:
    """One sentence, of bounded length however many channels there are."""
    shown = "; ".join(f"{name} {' and '.join(problems)}" for name, problems in list(obstacles.items())[:_CHANNELS_SHOWN])
    hidden = len(obstacles) - _CHANNELS_SHOWN
    return f"no usable EMG channel: {shown or 'there is none'}" + (f"; and {hidden} more" if hidden > 0 else "")


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
