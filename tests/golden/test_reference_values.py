"""The analysis agrees with reference values of three real recordings, computed by an independent implementation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.c3d.reader import C3dRecordingReader
from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.emg.analysis import analyse

RELATIVE_ERROR_MAX = 1e-9
RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"
GOLDEN = sorted((RECORDINGS / "golden").glob("*.json"))

pytestmark = pytest.mark.skipif(
    not GOLDEN, reason="the reference recordings lie outside the repository (../shared/recordings) and are absent"
)


def differences(expected: Any, found: Any, at: str = "") -> Iterator[str]:
    """Every place where the values differ, by its path in the document. Keys that only the found document has are nobody's business."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key in found:
                yield from differences(value, found[key], f"{at}.{key}")
            else:
                yield f"{at}.{key}: missing"
    elif isinstance(expected, list) and isinstance(found, list | tuple):
        if len(expected) != len(found):
            yield f"{at}: {len(found)} entries instead of {len(expected)}"
        for i, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from differences(one, other, f"{at}[{i}]")
    elif isinstance(expected, float) and isinstance(found, float):
        error = abs(found - expected) / abs(expected) if expected else abs(found)
        if not error <= RELATIVE_ERROR_MAX:
            yield f"{at}: {found!r} instead of {expected!r}, relative error {error:.1e}"
    elif type(expected) is not type(found) or expected != found:
        yield f"{at}: {found!r} instead of {expected!r}"


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
