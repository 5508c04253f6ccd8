"""Maximum voluntary contractions as they are given, and the parameters that they make."""

from __future__ import annotations

import pytest
from hypothesis import given

from domain.analytics import AnalysisParameters
from domain.errors import InvalidMvc
from domain.mvc import TEXT_LENGTH_MAX, GivenMvc, given_mvc, parse_mvc
from tests.strategies import any_mvc


@pytest.mark.parametrize(
    ("text", "mvc"),
    [
        ("", None),
        (" ,, ", None),
        ("0.0003", GivenMvc(0.0003)),
        ("CH1=0.0003", GivenMvc(None, (("CH1", 0.0003),))),
        (" left biceps = 3e-4,CH2=1,, a=b=2 ", GivenMvc(None, (("CH2", 1.0), ("a=b", 2.0), ("left biceps", 3e-4)))),
        ("CH2=2, 5 ,CH1=1", GivenMvc(5.0, (("CH1", 1.0), ("CH2", 2.0)))),
        ("Größe →=1e-300", GivenMvc(None, (("Größe →", 1e-300),))),
    ],
)
def test_values_are_separated_by_commas_as_in_the_setting(text: str, mvc: GivenMvc | None) -> None:
    assert parse_mvc(text) == mvc


def test_each_option_is_one_value_whatever_its_name_holds() -> None:
    assert given_mvc(["a,b=1", "2"]) == GivenMvc(2.0, (("a,b", 1.0),))


@pytest.mark.parametrize(
    "part", ["CH1", "CH1=", "CH1=much", "0", "-1", "CH1=0", "CH1=nan", "CH1=inf", "=1", " =1", "1e-400", "1e400", "1;2"]
)
def test_what_makes_no_sense_is_told_by_its_place_and_not_repeated(part: str) -> None:
    with pytest.raises(InvalidMvc, match=r"^part 2 .* such as CH1=0\.0003$") as caught:
        parse_mvc(f"CH7=1,{part}")
    assert caught.value.found == part


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CH1=1,CH1=2", "a channel is given two values"),
        ("1,2", "two values are given for every channel"),
        ("CH\x001=1", "cannot be printed"),
        ("CH\n1=1", "cannot be printed"),
        ("\ud800=1", "cannot be printed"),
        ("C" * TEXT_LENGTH_MAX + "=1", f"longer than {TEXT_LENGTH_MAX}"),
    ],
)
def test_what_contradicts_itself_or_cannot_be_stored_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidMvc, match=reason):
        parse_mvc(text)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_no_value_is_zero_or_no_number(value: float) -> None:
    for values in ((value, ()), (None, (("CH1", value),)), (1.0, (("CH1", value),))):
        with pytest.raises(InvalidMvc, match="above 0"):
            GivenMvc(*values)


def test_nothing_at_all_is_no_value() -> None:
    with pytest.raises(InvalidMvc, match="no value"):
        GivenMvc()


@given(mvc=any_mvc)
def test_values_are_equal_in_whatever_order_they_come(mvc: GivenMvc) -> None:
    assert GivenMvc(mvc.every_channel, mvc.by_channel[::-1]) == mvc
    assert hash(GivenMvc(mvc.every_channel, mvc.by_channel[::-1])) == hash(mvc)


SETTINGS = AnalysisParameters(mvc_session=9.0, mvc_by_channel={"CH1": 1.0, "CH2": 2.0}, mvc_threshold_percent=60.0)


@pytest.mark.parametrize(
    ("own", "session", "by_channel"),
    [
        (None, 9.0, {"CH1": 1.0, "CH2": 2.0}),
        (GivenMvc(5.0), 5.0, {}),
        (GivenMvc(None, (("CH2", 0.5),)), 9.0, {"CH1": 1.0, "CH2": 0.5}),
        (GivenMvc(5.0, (("CH3", 0.5),)), 5.0, {"CH3": 0.5}),
    ],
)
def test_a_sessions_own_values_go_before_those_of_the_settings(own: GivenMvc | None, session: float, by_channel: dict[str, float]) -> None:
    parameters = SETTINGS.with_mvc(own)
    assert (parameters.mvc_session, parameters.mvc_by_channel) == (session, by_channel)
    assert parameters.mvc_threshold_percent == 60.0
    assert SETTINGS.mvc_by_channel == {"CH1": 1.0, "CH2": 2.0}
