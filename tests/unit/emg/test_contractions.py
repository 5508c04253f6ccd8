"""Contractions are found where the muscle was active, and judged by the criteria that exist."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from domain.analytics import Contraction
from domain.emg.contractions import Run, activity_runs, measured, merge, split, summarise
from domain.emg.recording import Signal
from tests.unit.emg.recordings import bursts

booleans = arrays(np.bool_, st.integers(1, 120))


def runs_of(
    timing: Signal, *, shortest: int = 1, gap: int = 0, longest: int = 10**6, smoothing: int = 1, fraction: float = 0.5
) -> list[Run]:
    return activity_runs(
        timing,
        onset_fraction=fraction,
        smoothing_samples=smoothing,
        length_samples_min=shortest,
        gap_samples_max=gap,
        length_samples_max=longest,
    )


def slow_runs(on: list[bool], shortest: int, gap: int, longest: int) -> list[Run]:
    """The rules read aloud, sample by sample."""
    runs: list[list[int]] = []
    since: int | None = None
    for i, active in enumerate(on):
        if active and since is None:
            since = i
        if not active and since is not None:
            runs.append([since, i])
            since = None
    if since is not None:
        runs.append([since, len(on) - 1])
    merged: list[list[int]] = []
    for run in (run for run in runs if run[1] - run[0] >= shortest):
        if merged and run[0] - merged[-1][1] <= gap:
            merged[-1][1] = run[1]
        else:
            merged.append(run)
    pieces: list[Run] = []
    for first, end in merged:
        start = first
        while end - start > longest:
            pieces.append((start, start + longest))
            start += longest + 1
        if start < end or start == first:
            pieces.append((start, end))
    return pieces


@settings(deadline=None, max_examples=300)
@given(booleans, st.integers(0, 10), st.integers(0, 10), st.integers(1, 30))
def test_runs_follow_the_rules_sample_by_sample(on: np.ndarray, shortest: int, gap: int, longest: int) -> None:
    timing = on.astype(np.float64)
    expected = slow_runs(on.tolist(), shortest, gap, longest) if on.any() else []
    assert runs_of(timing, shortest=shortest, gap=gap, longest=longest) == expected


@settings(deadline=None)
@given(booleans, st.integers(0, 10), st.integers(0, 10), st.integers(1, 30))
def test_runs_are_in_order_apart_and_bounded(on: np.ndarray, shortest: int, gap: int, longest: int) -> None:
    runs = runs_of(on.astype(np.float64), shortest=shortest, gap=gap, longest=longest)
    assert all(start <= end <= start + longest for start, end in runs)
    assert all(before[1] < after[0] for before, after in pairwise(runs))


@pytest.mark.parametrize("timing", [np.zeros(500), np.full(500, 9e-10), np.full(500, -9e-10)])
def test_silence_has_no_contractions(timing: Signal) -> None:
    assert runs_of(timing, smoothing=100) == []


def test_the_sign_of_the_timing_signal_does_not_matter() -> None:
    timing = bursts(1000, (200, 400))
    assert runs_of(-timing) == runs_of(timing) == [(200, 400)]


def test_a_run_touching_the_end_closes_at_the_last_sample() -> None:
    assert runs_of(bursts(1000, (0, 100), (700, 1000))) == [(0, 100), (700, 999)]


def test_activity_from_first_to_last_sample_is_one_run() -> None:
    assert runs_of(np.ones(1000)) == [(0, 999)]


def test_short_runs_are_dropped_first_so_that_a_flicker_bridges_no_rest() -> None:
    timing = bursts(1000, (100, 300), (390, 400), (490, 700))
    assert runs_of(timing, shortest=50, gap=100) == [(100, 300), (490, 700)]


def test_neighbours_are_merged_over_short_gaps_only() -> None:
    timing = bursts(2000, (100, 300), (400, 600), (701, 900), (1000, 1100))
    assert runs_of(timing, gap=100) == [(100, 600), (701, 1100)]


def test_merging_goes_on_from_the_merged_run() -> None:
    assert merge([(0, 10), (15, 20), (25, 30), (36, 40)], 5) == [(0, 30), (36, 40)]


def test_a_long_hold_is_split_and_its_tail_kept() -> None:
    assert split([(1000, 31_500)], 9900) == [(1000, 10_900), (10_901, 20_801), (20_802, 30_702), (30_703, 31_500)]


def test_a_run_of_exactly_the_longest_length_stays_whole() -> None:
    assert split([(0, 9900)], 9900) == [(0, 9900)]


def test_a_tail_of_no_length_is_left_out() -> None:
    assert split([(0, 9901)], 9900) == [(0, 9900)]


def test_smoothing_widens_a_burst_by_its_own_width() -> None:
    [(start, end)] = runs_of(bursts(3000, (1000, 2000)), smoothing=100, fraction=0.05)
    assert start == pytest.approx(1000 - 45, abs=2)
    assert end == pytest.approx(2000 + 45, abs=2)


def contraction(start: int = 100, end: int = 300, *, threshold: float | None = 1.0, duration_ms_min: float | None = 200.0) -> Contraction:
    envelope = np.concatenate([np.zeros(100), np.full(201, -2.0), np.full(700, 50.0)])
    envelope[300] = -4.0
    return measured((start, end), envelope, 1000.0, threshold=threshold, duration_ms_min=duration_ms_min)


def test_amplitudes_are_of_the_absolute_envelope_with_both_ends() -> None:
    found = contraction()
    assert (found.start_ms, found.end_ms, found.duration_ms) == (100.0, 300.0, 200.0)
    assert found.max_amplitude == 4.0
    assert found.mean_amplitude == pytest.approx((200 * 2.0 + 4.0) / 201)


def test_a_criterion_just_met_is_met() -> None:
    found = contraction(threshold=4.0, duration_ms_min=200.0)
    assert (found.meets_mvc, found.meets_duration, found.is_good) == (True, True, True)


@pytest.mark.parametrize(
    ("threshold", "duration_ms_min", "expected"),
    [
        (5.0, 100.0, (False, True, False)),
        (1.0, 201.0, (True, False, False)),
        (None, 100.0, (None, True, True)),
        (None, 300.0, (None, False, False)),
        (1.0, None, (True, None, True)),
        (5.0, None, (False, None, False)),
        (None, None, (None, None, None)),
    ],
)
def test_good_means_every_criterion_that_exists(
    threshold: float | None, duration_ms_min: float | None, expected: tuple[bool | None, ...]
) -> None:
    found = contraction(threshold=threshold, duration_ms_min=duration_ms_min)
    assert (found.meets_mvc, found.meets_duration, found.is_good) == expected


def test_the_summary_of_no_contractions_is_zero_and_none() -> None:
    found = summarise([])
    assert (found.count, found.good, found.meets_mvc, found.meets_duration, found.time_under_tension_ms) == (0, 0, 0, 0, 0.0)
    assert (found.mean_duration_ms, found.min_duration_ms, found.max_duration_ms) == (None, None, None)
    assert (found.mean_amplitude, found.max_amplitude, found.compliance_rate) == (None, None, None)


def test_the_summary_counts_what_is_met() -> None:
    found = summarise([contraction(100, 300), contraction(100, 200), contraction(0, 90)])
    assert (found.count, found.meets_mvc, found.meets_duration, found.good) == (3, 2, 1, 1)
    assert (found.min_duration_ms, found.max_duration_ms, found.time_under_tension_ms) == (90.0, 200.0, 390.0)
    assert found.mean_duration_ms == pytest.approx(130.0)
    assert found.compliance_rate == pytest.approx(1 / 3)


def test_without_any_criterion_there_is_no_compliance() -> None:
    found = summarise([contraction(threshold=None, duration_ms_min=None)])
    assert (found.count, found.good, found.compliance_rate) == (1, 0, None)
