"""The README's table of figures, from a run that was kept: `python -m adapters.entrypoints.bench.readme docs/bench/report.json README.md`.

Nobody writes between the two markers by hand: a test compares them with the report.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from adapters.entrypoints.bench.figures import Report, from_json
from adapters.entrypoints.bench.markdown import asked, circumstances, table
from domain.errors import InvalidSettings

BEGIN: Final = "<!-- Figures of `make bench`: generated, not to be edited. -->"
END: Final = "<!-- End of the figures. -->"
TABLES: Final = ("readers_zipf_64", "stampede_loads")
PICTURES: Final = ("hits", "throughput", "outage_age")
"""What the README shows, by the names of tables and curves; docs/bench/report.md has everything."""


def block(report: Report) -> str:
    """What stands between the markers, and the markers."""
    titles = {each.name: each.title for each in report.tables} | {each.name: each.title for each in report.curves}
    shown = [f"![{titles[name]}](docs/bench/{name}.svg)" for name in PICTURES if name in titles]
    known = [table(each) for each in report.tables if each.name in TABLES]
    parts = [BEGIN, asked(report), *shown, *known, circumstances(report), END]
    return "\n\n".join(part for part in parts if part)


def renewed(readme: str, report: Report) -> str:
    """The README with this report's block. Raises InvalidSettings if the markers are not there, once and in order."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after:
        raise InvalidSettings(f"the README needs these two lines once, in this order: {BEGIN} and {END}")
    return before + block(report) + after


def main(report: Path, readme: Path) -> None:
    """Renews the block."""
    readme.write_text(renewed(readme.read_text(encoding="utf-8"), from_json(report.read_bytes())), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
