"""A report in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table as RichTable

from adapters.entrypoints.bench.figures import Report, Table, groups_of
from adapters.entrypoints.bench.markdown import figure, spread
from adapters.entrypoints.console import out


def show(report: Report) -> None:
    """Everything, on standard output."""
    for group in groups_of(report.tables):
        out.print(_wide(group) if group[0].group else _table(group[0]))
    asked = RichTable(box=SIMPLE_HEAD, pad_edge=False, title="Asked", title_justify="left")
    for heading in ("figure", "bar", "found", "holds"):
        asked.add_column(heading)
    for each in report.asked:
        asked.add_row(escape(each.text), each.bar, spread(each.found), "[green]yes[/]" if each.holds else "[red]no[/]")
    out.print(asked)


def _table(found: Table) -> RichTable:
    table = RichTable(box=SIMPLE_HEAD, pad_edge=False, title=escape(found.title), title_justify="left", header_style="bold")
    table.add_column("")
    table.add_column(found.unit, justify="right", no_wrap=True)
    if found.reference:
        table.add_column(f"times as fast as\n{found.reference}", justify="right")
    for row in sorted(found.rows, key=lambda row: row.value.median, reverse=not found.less_is_better):
        table.add_row(escape(row.way), spread(row.value), *([spread(row.ratio) if row.ratio else ""] if found.reference else []))
    return table


def _wide(group: Sequence[Table]) -> RichTable:
    """Tables of one group in one, a line each; medians alone, for there is no room for more."""
    table = RichTable(box=SIMPLE_HEAD, pad_edge=False, title=escape(group[0].group), title_justify="left", header_style="bold")
    table.add_column("", overflow="fold")
    ways = [row.way for row in group[0].rows]
    for way in ways:
        table.add_column(way, justify="right", overflow="fold")
    for each in group:
        table.add_row(f"{escape(each.title)}, {each.unit}", *(figure(each.row(way).value.median) for way in ways))
    return table
