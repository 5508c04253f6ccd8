"""A report in a folder: report.json, report.md, and pictures."""

from __future__ import annotations

from pathlib import Path

from adapters.entrypoints.bench.figures import Report, to_json
from adapters.entrypoints.bench.markdown import page


def write(report: Report, folder: Path) -> None:
    """Writes all of it; the folder is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(to_json(report) + b"\n")
    (folder / "report.md").write_text(page(report), encoding="utf-8")
