"""The analysis agrees with reference values of three real recordings, computed by an independent implementation."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.c3d.reader import C3dRecordingReader
from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.emg.analysis import analyse
from tests.golden.comparison import ABSENT, GOLDEN, RECORDINGS, differences

pytestmark = pytest.mark.skipif(not GOLDEN, reason=ABSENT)


def analysed(file_name: str) -> SessionAnalytics:
    parameters = AnalysisParameters()
    recording = C3dRecordingReader().read(RECORDINGS / file_name, parameters)
    return analyse(recording, parameters, processed_at=datetime(2025, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_every_number_agrees_with_the_reference_values(golden: Path) -> None:
    expected = json.loads(golden.read_text())
    analytics = analysed(expected.pop("recording"))
    found = asdict(analytics)
    found |= {key: found["recording"][key] for key in ("sampling_rate_hz", "samples", "duration_s")}
    found["overall_compliance"] = analytics.summary.overall_compliance
    wrong = list(differences(expected, found))
    assert not wrong, f"{len(wrong)} values differ:\n" + "\n".join(wrong[:30])


def test_the_comparison_itself_finds_every_kind_of_difference() -> None:
    expected = {"count": 2, "rms": 1.0, "flag": True, "items": [{"a": 1.0}, {"a": 2.0}], "none": None}
    assert list(differences(expected, expected)) == []
    found = {"count": 2.0, "rms": 1.0 + 2e-9, "flag": 1, "items": [{"a": 1.0}], "none": 0.0}
    assert [line.split(":")[0] for line in differences(expected, found)] == [".count", ".rms", ".flag", ".items", ".none"]
