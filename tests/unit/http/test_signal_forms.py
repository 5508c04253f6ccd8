"""The forms of signals: what one reads out of each, and which one a client gets."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import numpy as np
import pytest
from arro3.io import read_ipc_stream
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.signal_forms import MEDIA_TYPES, Form, encoded, form_wanted
from domain.analytics import AnalysisParameters
from domain.signals import POINTS_ANSWER_MAX, ReducedSignal, SignalKind, SignalPlan, SignalPreview
from tests.strategies import examples

PLAN = SignalPlan(
    recording_sha256="ab" * 32, sampling_rate_hz=990.0, amplitude_unit="µV", channels=("Größe→", "CH2"), kinds=(SignalKind.RAW,),
    first=1_000_000, end=1_074_250, points=2_000, parameters=AnalysisParameters(), unanalysed={},
)  # fmt: skip


def signal(*values: float, channel: str = "Größe→") -> ReducedSignal:
    samples = np.arange(len(values), dtype=np.uint32) * 3 + np.uint32(PLAN.first)
    return ReducedSignal(channel, SignalKind.RAW, samples, np.array(values, np.float32))


def missing(channel: str = "CH2") -> ReducedSignal:
    return ReducedSignal(channel, SignalKind.ACTIVATED, np.empty(0, np.uint32), np.empty(0, np.float32), missing="there is none")


PREVIEW = SignalPreview("0" * 64, (signal(1.5e-5, -0.25, 0.0), missing()))
WINDOW = {
    "recording_sha256": "ab" * 32, "sampling_rate_hz": 990.0, "amplitude_unit": "µV", "first_sample": 1_000_000, "end_sample": 1_074_250
}  # fmt: skip


def test_json() -> None:
    body, headers = encoded(PLAN, PREVIEW, "json")
    assert headers == {}
    assert json.loads(body) == {
        **WINDOW,
        "signals": [
            {
                "channel": "Größe→",
                "kind": "raw",
                "missing": None,
                "samples": [1_000_000, 1_000_003, 1_000_006],
                "values": [1.5e-5, -0.25, 0.0],
            },
            {"channel": "CH2", "kind": "activated", "missing": "there is none", "samples": [], "values": []},
        ],
    }


@given(values=st.lists(st.floats(width=32), max_size=50))
@examples(200)
def test_json_has_seven_digits_of_every_number_and_null_for_what_is_none(values: list[float]) -> None:
    body = encoded(PLAN, SignalPreview("0" * 64, (signal(*values),)), "json").body
    for value, found in zip(values, json.loads(body)["signals"][0]["values"], strict=True):
        assert found is None if not np.isfinite(value) else found == pytest.approx(value, rel=1e-6, abs=1e-22)
    assert b"NaN" not in body


def test_arrow() -> None:
    body, headers = encoded(PLAN, PREVIEW, "arrow")
    assert headers == {}
    table = read_ipc_stream(io.BytesIO(body)).read_all()
    assert table["signal"].to_numpy().tolist() == [0, 0, 0]
    assert table["sample"].to_numpy().tolist() == [1_000_000, 1_000_003, 1_000_006]
    assert table["time_s"].to_numpy().tolist() == [1_000_000 / 990, 1_000_003 / 990, 1_000_006 / 990]
    assert table["value"].to_numpy().tolist() == np.array([1.5e-5, -0.25, 0.0], np.float32).tolist()
    metadata = table.schema.metadata
    assert json.loads(metadata[b"window"]) == WINDOW
    assert json.loads(metadata[b"signals"]) == [
        {"channel": "Größe→", "kind": "raw", "points": 3, "missing": None},
        {"channel": "CH2", "kind": "activated", "points": 0, "missing": "there is none"},
    ]


def test_float32() -> None:
    body, headers = encoded(PLAN, PREVIEW, "float32")
    described = json.loads(headers["Emg-Signals"])
    assert [signal["points"] for signal in described["signals"]] == [3, 0]
    assert described["first_sample"] == 1_000_000
    assert headers["Emg-Signals"].isascii()
    numbers = np.frombuffer(body, "<f4")
    assert numbers.tolist() == [0.0, 3.0, 6.0, *np.array([1.5e-5, -0.25, 0.0], np.float32).tolist()]


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_nothing_but_missing_signals_is_an_answer_too(form: Form) -> None:
    assert encoded(PLAN, SignalPreview("0" * 64, (missing(),)), form).body is not None


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_the_largest_answer_is_within_200_kilobytes(form: Form) -> None:
    """The most points, in the longest numbers, at the end of a recording of a day."""
    values = -np.random.default_rng(1).uniform(1e-9, 9e-9, POINTS_ANSWER_MAX).astype(np.float32)
    samples = np.arange(POINTS_ANSWER_MAX, dtype=np.uint32) * 7 + np.uint32(80_000_000)
    each = POINTS_ANSWER_MAX // 4
    signals = tuple(
        ReducedSignal(f"CH{at}", SignalKind.ENVELOPE, samples[at : at + each], values[at : at + each])
        for at, _ in pairwise(range(0, POINTS_ANSWER_MAX + 1, each))
    )
    assert len(encoded(PLAN, SignalPreview("0" * 64, signals), form).body) <= 200_000


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("Application/JSON; charset=utf-8", "json"),
        ("application/*", "json"),
        ("application/vnd.apache.arrow.stream", "arrow"),
        ("application/octet-stream", "float32"),
        ("application/json;q=0.5, application/octet-stream", "float32"),
        ("application/json;q=0.5,application/vnd.apache.arrow.stream;q=0.9", "arrow"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("application/json;q=0, */*", "arrow"),
        ("*/*, application/json;q=0.1", "arrow"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("nonsense", None),
        (";;;,,/,", None),
        ("text/html" + "," * 100_000 + "application/json", None),
    ],
)
def test_a_client_gets_the_form_that_it_wants_most(accept: str | None, form: Form | None) -> None:
    assert form_wanted(accept) == form
