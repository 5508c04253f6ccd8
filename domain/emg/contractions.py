"""Contractions: when the muscle was active, and whether each time was strong and long enough."""

from __future__ import annotations

from typing import Final

import numpy as np

from domain.analytics import Contraction, ContractionSummary
from domain.emg.filters import moving_average
from domain.emg.recording import Signal

Run = tuple[int, int]
"""First sample of an activity, and the first sample after it (or the last of the recording)."""

_SILENCE: Final = 1e-9  # A timing signal that never exceeds this shows no activity: a threshold relative to its maximum would pick noise.


def activity_runs(
    timing: Signal, *, onset_fraction: float, smoothing_samples: int, length_samples_min: int, gap_samples_max: int, length_samples_max: int
) -> list[Run]:
    """The contractions in a timing signal, shape (samples,): the recorder's activity signal or the envelope.

    Active is where the smoothed |timing| exceeds a fraction of its own maximum (single-threshold onset detection; Hodges and Bui,
    Electroencephalogr Clin Neurophysiol 101(6):511-9, 1996). Runs that are too short are dropped first, so that flickers cannot bridge a
    rest; then neighbours are merged over short gaps; then very long ones are split, so that one held contraction counts as several.
    """
    s = moving_average(np.abs(timing), smoothing_samples)
    peak = float(s.max())
    if peak < _SILENCE:
        return []
    long_enough = [run for run in _runs(s > onset_fraction * peak) if run[1] - run[0] >= length_samples_min]
    return split(merge(long_enough, gap_samples_max), length_samples_max)


def merge(runs: list[Run], gap_samples_max: int) -> list[Run]:
    """Runs in order of time, joined from left to right where the gap is at most `gap_samples_max`."""
    merged: list[Run] = []
    for start, end in runs:
        if merged and start - merged[-1][1] <= gap_samples_max:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def split(runs: list[Run], length_samples_max: int) -> list[Run]:
    """Runs longer than `length_samples_max` (at least 1) cut into pieces of that length and a tail.

    Each piece begins one sample after the end of the last. A tail of no length, which would hold no active sample, is left out.
    """
    pieces: list[Run] = []
    for start, end in runs:
        piece_start = start
        while end - piece_start > length_samples_max:
            pieces.append((piece_start, piece_start + length_samples_max))
            piece_start += length_samples_max + 1
        if piece_start < end or piece_start == start:
            pieces.append((piece_start, end))
    return pieces


def measured(run: Run, envelope: Signal, sampling_rate_hz: float, *, threshold: float | None, duration_ms_min: float | None) -> Contraction:
    """One contraction with its amplitudes in |envelope|, from its start to its end inclusive, held against the criteria that exist."""
    start, end = run
    amplitudes = np.abs(envelope[start : end + 1])
    start_ms, end_ms = start / sampling_rate_hz * 1000.0, end / sampling_rate_hz * 1000.0
    duration_ms, peak = end_ms - start_ms, float(amplitudes.max())
    meets_mvc = None if threshold is None else peak >= threshold
    meets_duration = None if duration_ms_min is None else duration_ms >= duration_ms_min
    criteria = [met for met in (meets_mvc, meets_duration) if met is not None]
    return Contraction(
        start_ms=start_ms,
        end_ms=end_ms,
        duration_ms=duration_ms,
        mean_amplitude=float(amplitudes.mean()),
        max_amplitude=peak,
        meets_mvc=meets_mvc,
        meets_duration=meets_duration,
        is_good=all(criteria) if criteria else None,
    )


def summarise(items: list[Contraction]) -> ContractionSummary:
    """The contractions of one channel in numbers. The amplitude mean is over contractions, not over time.

    Without any criterion there is no good and no bad: the compliance rate is then None, as it is without contractions.
    """
    durations_ms = [item.duration_ms for item in items]
    good = sum(item.is_good is True for item in items)
    judged = any(item.is_good is not None for item in items)
    return ContractionSummary(
        count=len(items),
        good=good,
        meets_mvc=sum(item.meets_mvc is True for item in items),
        meets_duration=sum(item.meets_duration is True for item in items),
        mean_duration_ms=sum(durations_ms) / len(items) if items else None,
        min_duration_ms=min(durations_ms, default=None),
        max_duration_ms=max(durations_ms, default=None),
        time_under_tension_ms=sum(durations_ms, 0.0),
        mean_amplitude=sum(item.mean_amplitude for item in items) / len(items) if items else None,
        max_amplitude=max((item.max_amplitude for item in items), default=None),
        compliance_rate=good / len(items) if judged else None,
        items=tuple(items),
    )


def _runs(on: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Run]:
    """Maximal runs of True as (first on sample, first off sample after it); one that touches the end closes at the last sample."""
    edges = np.flatnonzero(np.diff(on.view(np.int8), prepend=np.int8(0), append=np.int8(0)))
    last = len(on) - 1
    return [(int(start), min(int(end), last)) for start, end in edges.reshape(-1, 2)]
