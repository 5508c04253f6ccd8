"""Reference values of real recordings, where they are at hand, and how to compare with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

RELATIVE_ERROR_MAX = 1e-9
RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"
GOLDEN = sorted((RECORDINGS / "golden").glob("*.json"))

ABSENT = "the reference recordings lie outside the repository (../shared/recordings) and are absent"


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
