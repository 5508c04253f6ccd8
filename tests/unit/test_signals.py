"""How a request for signals is planned, by what the analytics say of the recording alone."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.analytics import AnalysisParameters, EnvelopeStatistics, SessionAnalytics
from domain.errors import InvalidSignalRequest, UnknownChannel
from domain.signals import POINTS_ANSWER_MAX, SignalKind, SignalPlan, SignalRequest, planned
from tests.strategies import examples, some_analytics, some_channel

RAW, ACTIVATED, ENVELOPE = SignalKind.RAW, SignalKind.ACTIVATED, SignalKind.ENVELOPE


def analytics(*names: str, samples: int = 74_250, rate_hz: float = 990.0) -> SessionAnalytics:
    made = some_analytics(channels=tuple(some_channel(name) for name in names or ("CH1", "CH2")))
    recording = replace(made.recording, samples=samples, sampling_rate_hz=rate_hz, duration_s=samples / rate_hz)
    return replace(made, recording=recording)


def test_a_request_without_wishes_is_all_channels_raw_and_whole() -> None:
    plan = planned(analytics(), SignalRequest())
    assert (plan.channels, plan.kinds, plan.first, plan.end, plan.points) == (("CH1", "CH2"), (RAW,), 0, 74_250, 2_000)
    assert (plan.recording_sha256, plan.sampling_rate_hz, plan.amplitude_unit) == ("0123456789abcdef" * 4, 990.0, "V")


def test_kinds_are_in_one_order_however_they_are_named() -> None:
    assert planned(analytics(), SignalRequest(kinds=(ENVELOPE, RAW, ENVELOPE))).kinds == (RAW, ENVELOPE)
    with pytest.raises(InvalidSignalRequest, match="kind"):
        planned(analytics(), SignalRequest(kinds=()))


def test_an_unknown_channel_is_answered_with_those_that_there_are_and_not_repeated() -> None:
    with pytest.raises(UnknownChannel, match=r"it has 'CH1', 'CH2'$") as caught:
        planned(analytics(), SignalRequest(channel="Jane Doe"))
    assert "Jane" not in str(caught.value)
    assert len(str(UnknownChannel(tuple("x" * 300 for _ in range(1000))))) < 1200


@pytest.mark.parametrize(
    ("start_s", "end_s", "window"),
    [
        (0.0, None, (0, 74_250)),
        (0.0, 75.0, (0, 74_250)),
        (0.0, 1e300, (0, 74_250)),
        (10.0, 20.0, (9_900, 19_800)),
        (0.1, 0.3, (99, 297)),  # 0.1 * 990 is 99.00000000000001 as a float or not; it means sample 99 either way.
        (0.0, 1e-3, (0, 1)),
        (1e-3, 2e-3, (1, 2)),
        (74_249 / 990, None, (74_249, 74_250)),
        (0.0004, 0.0011, (1, 2)),
    ],
)
def test_a_window_holds_the_samples_from_its_start_on_and_before_its_end(
    start_s: float, end_s: float | None, window: tuple[int, int]
) -> None:
    plan = planned(analytics(), SignalRequest(start_s=start_s, end_s=end_s))
    assert (plan.first, plan.end) == window


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"start_s": -0.001}, "start_s must be at least 0"),
        ({"start_s": 75.0}, "less than the recording's 75 s"),
        ({"start_s": 1e308}, "less than the recording's 75 s"),
        ({"start_s": math.nan}, "numbers"),
        ({"start_s": -math.inf}, "numbers"),
        ({"end_s": math.inf}, "numbers"),
        ({"end_s": math.nan}, "numbers"),
        ({"end_s": 0.0}, "end_s must be greater"),
        ({"start_s": 5.0, "end_s": 5.0}, "end_s must be greater"),
        ({"start_s": 5.0, "end_s": -1e300}, "end_s must be greater"),
        ({"start_s": 0.0001, "end_s": 0.0002}, "holds no sample at 990 Hz"),
        ({"points": 3}, "from 4 to 4000 for 2 signals, not 3"),
        ({"points": -5}, "from 4 to 4000"),
        ({"points": 4001}, "from 4 to 4000"),
        ({"points": 10**30}, "from 4 to 4000"),
    ],
)
def test_what_cannot_be_shown_is_said_by_its_name(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidSignalRequest, match=match):
        planned(analytics(), SignalRequest(**wrong))


@given(
    start_s=st.floats(allow_nan=True), end_s=st.none() | st.floats(allow_nan=True), points=st.none() | st.integers(),
    samples=st.integers(1, 10**9), rate_hz=st.floats(1e-3, 1e6),
)  # fmt: skip
@examples(300)
def test_any_request_is_planned_within_bounds_or_refused(
    start_s: float, end_s: float | None, points: int | None, samples: int, rate_hz: float
) -> None:
    try:
        plan = planned(analytics(samples=samples, rate_hz=rate_hz), SignalRequest(start_s=start_s, end_s=end_s, points=points))
    except InvalidSignalRequest:
        return
    assert 0 <= plan.first < plan.end <= samples
    assert 1 <= plan.points <= min(POINTS_ANSWER_MAX, plan.end - plan.first)


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 100, 666])
def test_an_answer_has_a_bound_however_many_channels_there_are(channels: int) -> None:
    made = analytics(*(f"CH{number:03}" for number in range(channels)))
    plan = planned(made, SignalRequest(kinds=(RAW, ACTIVATED, ENVELOPE)))
    assert plan.points * channels * 3 <= POINTS_ANSWER_MAX
    assert planned(made, SignalRequest(channel="CH000")).points == 2_000


def test_too_many_channels_for_one_answer_are_refused() -> None:
    made = analytics(*(f"CH{number}" for number in range(2001)))
    with pytest.raises(InvalidSignalRequest, match="2001 signals are too many"):
        planned(made, SignalRequest())


def test_a_short_window_asks_for_no_more_points_than_it_has_samples() -> None:
    assert planned(analytics(), SignalRequest(start_s=1.0, end_s=1.1)).points == 99


def test_plans_with_equal_answers_have_equal_keys_and_others_have_not() -> None:
    one = planned(analytics(), SignalRequest(start_s=10.0, end_s=20.0))
    assert len(one.key) == 64
    assert planned(analytics(), SignalRequest(start_s=10.0000000001, end_s=20.0, points=2_000)).key == one.key
    changed: dict[str, Any] = {
        "recording_sha256": "f" * 64,
        "channels": ("CH1",),
        "kinds": (ENVELOPE,),
        "first": one.first + 1,
        "end": one.end + 1,
        "points": one.points - 1,
        "parameters": replace(one.parameters, envelope_lowpass_hz=6.0),
    }
    follow_from_these = {"sampling_rate_hz", "amplitude_unit", "unanalysed"}
    assert {field.name for field in fields(SignalPlan)} == changed.keys() | follow_from_these
    keys = {replace(one, **{name: value}).key for name, value in changed.items()}
    assert len(keys | {one.key}) == len(changed) + 1


def test_parameters_that_change_no_signal_change_no_key() -> None:
    one = planned(analytics(), SignalRequest())
    assert replace(one, parameters=replace(one.parameters, mvc_threshold_percent=50.0)).key == one.key
    assert replace(one, parameters=replace(one.parameters, channels=("EMG*",))).key != one.key
    shaping = {field.name for field in fields(AnalysisParameters) if field.name.startswith("envelope_")}
    assert len(shaping) == 6  # One more has to change the key as well, and does if its name begins so.


def test_channels_that_could_not_be_analysed_have_no_envelope_and_the_plan_says_why() -> None:
    made = analytics()
    nothing = EnvelopeStatistics(None, None, None, None)
    flat = replace(made.channels[1], envelope=nothing, problems=("is flat", "has 3 samples"))
    assert planned(replace(made, channels=(made.channels[0], flat)), SignalRequest()).unanalysed == {
        "CH2": "the channel is flat; it has 3 samples"
    }
