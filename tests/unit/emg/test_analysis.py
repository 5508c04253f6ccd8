"""The analysis of whole recordings, and of what is wrong with them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy import signal

from domain.analytics import AnalysisParameters, ChannelAnalytics, SessionAnalytics
from domain.emg.analysis import analyse
from domain.emg.recording import Channel, Signal
from domain.errors import InvalidParameters, InvalidRecording
from domain.session import session_id_of
from tests.unit.emg.recordings import FS, bursts, noise, recording

NOW = datetime(2025, 3, 10, 12, 0, tzinfo=UTC)
DEFAULTS = AnalysisParameters()
GOOD = Channel("good", noise(4000, seed=7))


def analysed(*channels: Channel, parameters: AnalysisParameters = DEFAULTS, fs: float = FS) -> SessionAnalytics:
    return analyse(recording(*channels, fs=fs), parameters, processed_at=NOW)


def only(channel: Channel, parameters: AnalysisParameters = DEFAULTS, fs: float = FS) -> ChannelAnalytics:
    """One channel's analytics, with a sound channel beside it."""
    found = analysed(channel, replace_length(GOOD, len(channel.raw)), parameters=parameters, fs=fs)
    return next(one for one in found.channels if one.name == channel.name)


def replace_length(channel: Channel, samples: int) -> Channel:
    return replace(channel, raw=noise(max(samples, 1000), seed=7))


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, float):
        yield value


def active(samples: int = 8000, *on: tuple[int, int]) -> Channel:
    """Noise that is ten times louder while the activity signal is on."""
    activity = bursts(samples, *(on or ((1000, 4000), (5000, 6000))))
    return Channel("CH1", noise(samples) * (1 + 9 * (activity > 0)), activity)


def test_channels_come_in_order_of_names_with_the_facts_of_the_recording() -> None:
    one, other = Channel("b", noise(3000, seed=1)), Channel("a", noise(3000, seed=2))
    found = analysed(one, other)
    assert [channel.name for channel in found.channels] == ["a", "b"]
    assert (found.summary.channel_count, found.summary.processed_at) == (2, NOW)
    assert found.session_id == session_id_of("ab" * 32)
    assert found.parameters is DEFAULTS


def test_metrics_agree_with_their_textbook_definitions() -> None:
    x = noise(5000)
    found = only(Channel("CH1", x))
    f, p = signal.welch(x, FS, nperseg=256)
    assert found.rms == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-12)
    assert found.mav == pytest.approx(np.mean(np.abs(x)), rel=1e-12)
    assert found.mpf_hz == pytest.approx(np.sum(f * p) / np.sum(p), rel=1e-12)
    windows = [x[start : start + 990] for start in range(0, len(x) - 989, 495)]
    mpf = [np.sum(f * p) / np.sum(p) for f, p in (signal.welch(window, FS, nperseg=256) for window in windows)]
    assert found.windows.mpf_hz.mean == pytest.approx(np.mean(mpf), rel=1e-12)
    assert found.windows.mpf_hz.std == pytest.approx(np.std(mpf, ddof=1), rel=1e-9)
    assert found.windows.mpf_hz.count == len(windows)
    assert found.problems == ()


def test_contractions_follow_the_activity_signal_where_there_is_one() -> None:
    found = only(active()).contractions
    assert [round(item.start_ms / 1000 * FS) for item in found.items] == pytest.approx([955, 4955], abs=5)
    assert (found.count, found.meets_duration, found.good) == (2, 1, 1)


def test_contractions_follow_the_envelope_without_an_activity_signal() -> None:
    channel = active()
    found = only(replace(channel, activated=None), AnalysisParameters(onset_fraction_envelope=0.3)).contractions
    assert [item.start_ms / 1000 * FS for item in found.items] == pytest.approx([1000, 5000], abs=100)


def test_an_activity_signal_that_is_silent_shows_no_contraction() -> None:
    found = only(replace(active(), activated=np.zeros(8000)))
    assert (found.contractions.count, found.contractions.compliance_rate, found.problems) == (0, None, ())


def test_a_broken_activity_signal_is_replaced_by_the_envelope_and_said_so() -> None:
    channel = active()
    broken = np.array(channel.activated)
    broken[17] = np.nan
    found = only(replace(channel, activated=broken))
    assert found.contractions == only(replace(channel, activated=None)).contractions
    assert "activity signal" in found.problems[0]


def test_a_long_hold_is_several_contractions() -> None:
    found = only(active(30_000, (1000, 29_000))).contractions
    assert [item.duration_ms for item in found.items[:-1]] == pytest.approx([10_000, 10_000])
    assert found.count == 3


def test_an_mvc_of_the_channel_comes_before_that_of_the_session_before_an_estimate() -> None:
    channel = active()
    estimated, of_session = only(channel).mvc, only(channel, AnalysisParameters(mvc_session=0.5)).mvc
    of_channel = only(channel, AnalysisParameters(mvc_session=0.5, mvc_by_channel={"CH1": 0.25, "CH9": 1.0})).mvc
    assert (estimated.source, estimated.threshold_percent) == ("estimated", 75.0)
    assert (of_session.source, of_session.value, of_session.threshold) == ("session", 0.5, 0.375)
    assert (of_channel.source, of_channel.value, of_channel.threshold) == ("channel", 0.25, 0.1875)


def test_an_mvc_out_of_reach_is_met_by_no_contraction() -> None:
    found = only(active(), AnalysisParameters(mvc_session=1e3)).contractions
    assert (found.meets_mvc, found.good, found.compliance_rate) == (0, 0, 0.0)


def test_without_a_duration_threshold_only_intensity_counts() -> None:
    found = only(active(), AnalysisParameters(duration_threshold_ms=None)).contractions
    assert [item.meets_duration for item in found.items] == [None, None]
    assert (found.meets_duration, found.good, found.compliance_rate) == (0, 2, 1.0)


def test_compliance_of_the_session_is_the_mean_of_its_channels() -> None:
    silent = Channel("CH2", noise(8000, seed=3), np.zeros(8000))
    found = analysed(active(), silent)
    assert [channel.contractions.compliance_rate for channel in found.channels] == [0.5, None]
    assert found.summary.overall_compliance == 0.5
    assert analysed(silent).summary.overall_compliance is None


def test_an_envelope_below_zero_gives_no_estimate_and_no_mvc_criterion() -> None:
    silent_but_for_a_click = np.zeros(8000)
    silent_but_for_a_click[4000] = 1.0  # The filters ring around it, below zero too.
    click = Channel("CH1", silent_but_for_a_click, bursts(8000, (3000, 5000)))
    found = only(click, AnalysisParameters(mvc_estimate_percentile=1.0))
    assert (found.mvc.value, found.mvc.threshold, found.mvc.source) == (None, None, "estimated")
    assert [item.meets_mvc for item in found.contractions.items] == [None]
    assert "too low for an estimate" in found.problems[0]


@pytest.mark.parametrize(
    ("name", "x", "problem"),
    [
        ("NaN", np.where(np.arange(4000) == 100, np.nan, noise(4000)), "1 of 4000 samples are no finite numbers"),
        ("infinite", np.where(np.arange(4000) < 2, -np.inf, noise(4000)), "2 of 4000 samples are no finite numbers"),
        ("zero", np.zeros(4000), "is flat"),
        ("constant", np.full(4000, 5.0), "is flat"),
        ("faint", noise(4000, level=1e-11), "is flat"),
        ("denormal", noise(4000, level=1e-310), "is flat"),
        ("short", noise(255), "has 255 samples, too few for a spectrum segment: 256 are needed"),
        ("empty", np.zeros(0), "has 0 samples"),
        ("huge", noise(4000, level=1e200), "beyond ±1e+100"),
        ("largest", np.full(4000, np.finfo(np.float64).max), "beyond ±1e+100"),
    ],
)
def test_a_channel_that_cannot_be_analysed_is_kept_and_says_why(name: str, x: Signal, problem: str) -> None:
    found = only(Channel(name, x, np.ones(len(x))), AnalysisParameters(mvc_by_channel={name: 2.0}))
    assert any(problem in sentence for sentence in found.problems), found.problems
    assert (found.rms, found.mav, found.mpf_hz, found.mdf_hz, found.fi_nsm5) == (None,) * 5
    assert (found.windows.rms.mean, found.windows.rms.count, found.envelope.max) == (None, 0, None)
    assert (found.contractions.count, found.contractions.items, found.contractions.compliance_rate) == (0, (), None)
    assert (found.mvc.value, found.mvc.threshold) == (2.0, 1.5)
    assert only(Channel(name, x)).mvc.value is None


def test_a_recording_without_any_usable_channel_is_refused_with_all_reasons() -> None:
    with pytest.raises(InvalidRecording, match=r"^made.c3d: no usable EMG channel: a is flat.*; b has 10 samples"):
        analysed(Channel("a", np.zeros(4000)), Channel("b", noise(10)))


def test_the_reasons_of_many_channels_stay_readable() -> None:
    with pytest.raises(InvalidRecording, match=r"and 295 more$") as caught:
        analysed(*(Channel(f"c{i:03}", np.zeros(300)) for i in range(300)))
    assert len(str(caught.value)) < 1000


def test_a_recording_without_channels_is_refused() -> None:
    with pytest.raises(InvalidRecording, match="there is none"):
        analysed()


def test_a_rate_too_low_for_the_filters_is_refused_with_the_rate_that_is_needed() -> None:
    with pytest.raises(InvalidRecording, match=r"is sampled at 40 Hz.*needs more than 40 Hz"):
        analysed(Channel("a", noise(4000)), fs=40.0)
    assert analysed(Channel("a", noise(4000)), fs=41.0).channels[0].rms is not None


def test_windows_shorter_than_a_segment_have_amplitudes_but_no_frequencies() -> None:
    found = only(Channel("CH1", noise(4000)), fs=200.0)
    assert (found.windows.rms.count, found.windows.mpf_hz.count, found.windows.fi_nsm5.mean) == (39, 0, None)
    assert found.mpf_hz is not None
    assert "shorter than a spectrum segment" in found.problems[0]


def test_flat_windows_are_left_out_of_the_frequencies_but_not_of_the_amplitudes() -> None:
    x = noise(9900)
    x[:4950] = 0.0
    found = only(Channel("CH1", x)).windows
    assert (found.rms.count, found.rms.min) == (19, 0.0)
    assert found.mpf_hz.count == found.mdf_hz.count == found.fi_nsm5.count == 10


def test_a_recording_of_one_window_has_counts_but_no_statistics() -> None:
    found = only(Channel("CH1", noise(1000))).windows
    assert (found.rms.count, found.rms.mean, found.mpf_hz.count, found.mpf_hz.mean) == (1, None, 1, None)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (AnalysisParameters(window_length_s=0.001), "window_length_s 0.001.*less than one sample"),
        (AnalysisParameters(window_step_fraction=1e-4), "window_step_fraction 0.0001"),
        (AnalysisParameters(contraction_length_s_min=0.0, contraction_length_s_max=1e-4), "contraction_length_s_max"),
    ],
)
def test_parameters_that_do_not_fit_the_rate_are_refused(parameters: AnalysisParameters, message: str) -> None:
    with pytest.raises(InvalidParameters, match=message):
        analysed(GOOD, parameters=parameters)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("envelope_padding_samples", -1),
        ("contraction_gap_s_max", -0.1),
        ("contraction_gap_s_max", math.nan),
        ("contraction_gap_s_max", math.inf),
        ("contraction_length_s_min", -1.0),
        ("window_length_s", math.inf),
        ("mvc_session", 0.0),
    ],
)
def test_parameters_that_no_recording_can_fit_are_refused_when_made(name: str, value: float) -> None:
    parameter: dict[str, Any] = {name: value}
    with pytest.raises(InvalidParameters, match=name):
        AnalysisParameters(**parameter)


@pytest.mark.parametrize(
    ("parameters", "needed_by"),
    [
        (AnalysisParameters(envelope_padding_samples=4000), "the padding of the envelope's filters"),
        (AnalysisParameters(envelope_smoothing_s=1e9), "the smoothing of the envelope"),
        (AnalysisParameters(onset_smoothing_samples=10**9), "the smoothing of the onset detection"),
        (AnalysisParameters(spectrum_segment_samples=8192), "a spectrum segment"),
    ],
)
def test_a_recording_too_short_for_its_parameters_says_for_which(parameters: AnalysisParameters, needed_by: str) -> None:
    with pytest.raises(InvalidRecording, match=f"too few for {needed_by}"):
        analysed(GOOD, parameters=parameters)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    samples=st.integers(256, 4000),
    level=st.floats(-320, 300).map(lambda exponent: 10.0**exponent),
    offset=st.floats(allow_nan=False, allow_infinity=False),
    shape=st.sampled_from(["noise", "spike", "half", "step"]),
    fs=st.sampled_from([41.0, 200.0, 990.0, 2000.0]),
    seed=st.integers(0, 2**32 - 1),
)
@example(samples=256, level=1.0, offset=2.8e306, shape="noise", fs=41.0, seed=0)  # The activity signal alone beyond all amplitudes.
def test_no_recording_brings_a_nan_an_infinity_or_a_warning(
    *, samples: int, level: float, offset: float, shape: str, fs: float, seed: int
) -> None:
    x = noise(samples, seed=seed, level=1.0)
    match shape:
        case "spike":
            x = np.where(np.arange(samples) == samples // 2, x, 0.0)
        case "half":
            x[: samples // 2] = 0.0
        case "step":
            x = np.sign(np.arange(samples) - samples // 2) * 1.0
    with np.errstate(over="ignore"):
        wild = x * level + offset
    found = asdict(analysed(Channel("wild", wild), Channel("wild too", x * level, wild), replace_length(GOOD, samples), fs=fs))
    assert all(math.isfinite(number) for number in numbers(found))
    json.dumps(found, default=str, allow_nan=False)
