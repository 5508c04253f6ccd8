"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from adapters.entrypoints.bench.figures import Report, Spread, Table, groups_of

READING: Final = (
    "Medians of rounds, with the least and the most. Ratios compare two ways within one round; they are what matters, for absolute times"
    " are this machine's."
)


def figure(value: float) -> str:
    """A figure with three digits, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(value: Spread) -> str:
    """The median, with the least and the most if they differ."""
    return figure(value.median) if value.least == value.most else f"{figure(value.median)} ({figure(value.least)} to {figure(value.most)})"


def table(found: Table) -> str:
    """A table, best first."""
    better = "less" if found.less_is_better else "more"
    head = f"| | {found.unit} ({better} is better) |" + (f" times as fast as {found.reference} |" if found.reference else "")
    rule = "|---|---:|" + ("---:|" if found.reference else "")
    rows = sorted(found.rows, key=lambda row: row.value.median, reverse=not found.less_is_better)
    lines = [
        f"| {row.way} | {spread(row.value)} |" + (f" {spread(row.ratio) if row.ratio else ''} |" if found.reference else "") for row in rows
    ]
    return "\n".join([f"### {found.title}", "", head, rule, *lines, *(f"\n{note}" for note in found.notes)])


def wide(columns: Sequence[Table]) -> str:
    """Tables of one group as columns of one."""
    head = "| | " + " | ".join(f"{column.title}, {column.unit}" for column in columns) + " |"
    lines = [f"| {row.way} | " + " | ".join(spread(column.row(row.way).value) for column in columns) + " |" for row in columns[0].rows]
    notes = [f"\n{note}" for column in columns for note in column.notes]
    return "\n".join([f"### {columns[0].group}", "", head, "|---|" + "---:|" * len(columns), *lines, *notes])


def asked(report: Report) -> str:
    """What was asked, with yes or no; nothing, if the run had no such work."""
    lines = [
        f"| {each.text} | {each.bar} | {spread(each.found)} {each.unit} | {'yes' if each.holds else '**no**'} |" for each in report.asked
    ]
    return "\n".join(["| asked | bar | found | holds |", "|---|---|---|---|", *lines]) if lines else ""


def circumstances(report: Report) -> str:
    """When, where and with what, in a sentence or three."""
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    documents = "; ".join(f"{each.name}, {each.plain_bytes:,} bytes, {each.compressed_bytes:,} compressed" for each in report.documents[:1])
    return (
        f"{report.began_at:%d %B %Y}, {report.pace} pace; {machine.processor}, {machine.cores} processors, {machine.system},"
        f" {machine.python}, event loop {machine.event_loop}. The document of {documents}. {versions}."
    )


def configured(report: Report) -> str:
    """How each peer was set up, and where that is advised."""
    lines = [f"- **{each.peer}**: {each.how} ({each.documentation})." for each in report.peers]
    return "\n".join(["### How each is set up", "", *lines]) if lines else ""


def page(report: Report, pictures: Mapping[str, str] | None = None) -> str:
    """The whole report, with pictures that are beside it: their captions by the names of their files."""
    groups = [wide(each) if each[0].group else table(each[0]) for each in groups_of(report.tables)]
    shown = [f"![{caption}]({name})" for name, caption in (pictures or {}).items()]
    parts = ["# Beside its peers", circumstances(report), READING, asked(report), *shown, *groups, configured(report)]
    return "\n\n".join(part for part in parts if part) + "\n"
