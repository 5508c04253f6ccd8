"""A report in a folder: report.json, report.md, and pictures."""

from __future__ import annotations

from pathlib import Path

from adapters.entrypoints.bench.figures import Report, to_json
from adapters.entrypoints.bench.markdown import page
from adapters.entrypoints.bench.pictures import pictures


def write(report: Report, folder: Path) -> None:
    """Writes all of it; the folder is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(to_json(report) + b"\n")
    drawn = pictures(report)
    for picture in drawn:
        (folder / picture.name).write_bytes(picture.svg)
    (folder / "report.md").write_text(page(report, {picture.name: picture.caption for picture in drawn}), encoding="utf-8")
