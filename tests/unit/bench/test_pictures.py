"""Pictures of a report."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from adapters.entrypoints.bench.figures import Curves, Line, Row, Spread, Table
from adapters.entrypoints.bench.pictures import drawn_bars, drawn_curves

CURVES = Curves(
    "outage",
    "Reads <over> an outage",
    "seconds",
    "p99, ms",
    (Line("Emg-Sessions", (0.0, 0.2, 0.4), (1.0, None, 3.0)), Line("another", (0.0, 0.2, 0.4), (1.0, 200.0, 3.0))),
    marks=((0.2, "frozen"),),
)
TABLE = Table(
    "http",
    "Requests",
    "requests/s",
    less_is_better=False,
    reference=None,
    rows=(Row("slow", Spread(1.0, 0.5, 2.0)), Row("Emg-Sessions", Spread(20_000.0, 19_000.0, 21_000.0))),
)


def words_of(svg: bytes) -> str:
    return " ".join(text for text in ET.fromstring(svg).itertext())


def test_curves_say_what_they_show_in_which_unit() -> None:
    words = words_of(drawn_curves(CURVES))
    for word in ("Reads <over> an outage", "seconds", "p99, ms", "Emg-Sessions", "another", "frozen"):
        assert word in words


def test_bars_name_each_way_and_its_figure() -> None:
    words = words_of(drawn_bars(TABLE))
    for word in ("Requests", "requests/s (more is better)", "slow", "Emg-Sessions", "20,000"):
        assert word in words


@pytest.mark.parametrize("draw", [lambda: drawn_curves(CURVES), lambda: drawn_bars(TABLE)], ids=["curves", "bars"])
def test_the_same_report_is_the_same_bytes_and_has_colours_for_the_dark(draw: object) -> None:
    first, second = draw(), draw()  # type: ignore[operator]
    assert first == second
    assert b"prefers-color-scheme: dark" in first
    assert b"<metadata>" not in first or b"dc:date" not in first
