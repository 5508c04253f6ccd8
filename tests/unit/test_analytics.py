"""Parameters that contradict each other, and what a session's compliance is."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime

import pytest

from domain.analytics import AnalysisParameters, overall_compliance
from domain.errors import InvalidParameters
from tests.strategies import some_analytics

NUMBERS = {field.name: str(field.type) for field in fields(AnalysisParameters) if field.type in {"int", "float", "float | None"}}
NEVER = {"int": [-1]}
NEVER_FLOAT = [-1.0, float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, kind in NUMBERS.items() for value in NEVER.get(kind, NEVER_FLOAT)])
def test_no_parameter_is_negative_or_no_number_and_the_error_names_it(name: str, value: float) -> None:
    with pytest.raises(InvalidParameters, match=name):
        AnalysisParameters(**{name: value})  # type: ignore[arg-type]


MAY_BE_ZERO = {"spectrum_overlap_samples", "envelope_padding_samples", "contraction_length_s_min", "contraction_gap_s_max"}


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_zero_is_a_value_for_some_parameters_only(name: str) -> None:
    zero = {name: 0}
    if name in MAY_BE_ZERO:
        assert getattr(AnalysisParameters(**zero), name) == 0  # type: ignore[arg-type]
    else:
        with pytest.raises(InvalidParameters, match=name):
            AnalysisParameters(**zero)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"spectrum_overlap_samples": 256}, "spectrum_overlap_samples"),
        ({"spectrum_segment_samples": 128}, "spectrum_segment_samples"),
        ({"window_step_fraction": 1.01}, "window_step_fraction"),
        ({"mvc_estimate_percentile": 100.1}, "mvc_estimate_percentile"),
        ({"contraction_length_s_min": 10.0}, "contraction_length_s_min"),
        ({"contraction_length_s_max": 0.1}, "contraction_length_s_max"),
        ({"mvc_by_channel": {"CH1": 0.0}}, "CH1"),
        ({"mvc_by_channel": {"CH1": 1.0, "CH2": float("nan")}}, "CH2"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(given: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidParameters, match=named):
        AnalysisParameters(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {}, {"mvc_session": None}, {"duration_threshold_ms": None}, {"window_step_fraction": 1.0}, {"mvc_estimate_percentile": 100.0},
        {"spectrum_overlap_samples": 255}, {"mvc_by_channel": {"CH1": 5e-324}}, {"mvc_threshold_percent": 150.0},
    ],
)  # fmt: skip
def test_parameters_at_their_limits_are_accepted(given: dict[str, object]) -> None:
    AnalysisParameters(**given)  # type: ignore[arg-type]


def test_equal_contents_differ_in_the_moment_of_processing_at_most() -> None:
    one = some_analytics()
    later = replace(one, summary=replace(one.summary, processed_at=datetime(2030, 1, 1, tzinfo=UTC)))
    other = replace(one, summary=replace(one.summary, channel_count=7))
    assert one != later
    assert one.content() == later.content()
    assert one.content() != other.content()


def test_analytics_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        some_analytics().summary.channel_count = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, None), ({"CH1": None}, None), ({"CH1": 0.0}, 0.0), ({"CH1": 0.5, "CH2": None}, 0.5), ({"CH1": 0.5, "CH2": 1.0}, 0.75),
    ],
)  # fmt: skip
def test_the_compliance_of_a_session_is_the_mean_of_what_is_known(rates: dict[str, float | None], expected: float | None) -> None:
    assert overall_compliance(rates) == expected
