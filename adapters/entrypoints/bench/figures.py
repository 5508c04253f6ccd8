"""What a run of the bench finds, as data: written to JSON and read back by msgspec, rendered by tables.py and markdown.py."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure of several rounds: the median, with the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of the figures of single rounds, one at least."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Row:
    """One way of doing what a table is about. `ratio`: how many times as good as the table's reference was in the same round."""

    way: str
    value: Spread
    ratio: Spread | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Ways of doing one thing, beside each other. `name` is for scripts, `title` for people; `reference` is a row's `way`, or None.

    Neighbours of one `group` are printed as columns of one table, in the order of the first one's rows.
    """

    name: str
    title: str
    unit: str
    less_is_better: bool
    reference: str | None
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    group: str = ""

    def with_notes(self, *notes: str) -> Table:
        """The same with more to be said."""
        return replace(self, notes=self.notes + notes)

    def row(self, way: str) -> Row:
        """The row of a way. Raises KeyError if there is none."""
        for row in self.rows:
            if row.way == way:
                return row
        raise KeyError(way)


def groups_of(tables: Sequence[Table]) -> list[list[Table]]:
    """The tables as they are printed: those that stand alone, and those that are columns of one."""
    return [
        part
        for name, each in itertools.groupby(tables, lambda table: table.group)
        for part in ([list(each)] if name else [[table] for table in each])
    ]


@dataclass(frozen=True, slots=True)
class Line:
    """One way in a picture: its values `y` at the places `x`. None: nothing was found there."""

    way: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """What grows or goes over time, for a picture. `marks` are moments on x that need a word, such as an outage's begin."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    marks: tuple[tuple[float, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A figure that is asked of this project: `text` says which, `bar` what is asked, `holds` whether the median does it."""

    text: str
    bar: str
    found: Spread
    unit: str
    holds: bool

    @classmethod
    def at_least(cls, text: str, bar: float, values: Sequence[float], unit: str) -> Asked:
        """The median must reach the bar."""
        found = Spread.of(values)
        return cls(text, f"at least {bar:g} {unit}", found, unit, holds=found.median >= bar)

    @classmethod
    def at_most(cls, text: str, bar: float, values: Sequence[float], unit: str) -> Asked:
        """The median must not exceed the bar."""
        found = Spread.of(values)
        return cls(text, f"at most {bar:g} {unit}", found, unit, holds=found.median <= bar)


@dataclass(frozen=True, slots=True)
class Configured:
    """How a peer is set up, and the page of its documentation that advises so."""

    peer: str
    how: str
    documentation: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run took place."""

    processor: str
    cores: int
    system: str
    python: str
    event_loop: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document that everybody stored and read, in bytes of canonical JSON, plain and compressed with zstd."""

    name: str
    plain_bytes: int
    compressed_bytes: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What one work found."""

    tables: tuple[Table, ...] = ()
    curves: tuple[Curves, ...] = ()
    asked: tuple[Asked, ...] = ()
    peers: tuple[Configured, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. `versions` are of servers and libraries; `pace` says how long it measured."""

    began_at: datetime
    pace: str
    machine: Machine
    versions: dict[str, str]
    documents: tuple[Document, ...]
    tables: tuple[Table, ...] = ()
    curves: tuple[Curves, ...] = ()
    asked: tuple[Asked, ...] = ()
    peers: tuple[Configured, ...] = field(default=())

    def table(self, name: str) -> Table:
        """The table of this name. Raises KeyError if the run had no such work."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)


def to_json(report: Report) -> bytes:
    """The report as one line of JSON."""
    return msgspec.json.encode(report)


def from_json(text: bytes) -> Report:
    """A report as it was written. Raises msgspec.MsgspecError for anything else."""
    return msgspec.json.decode(text, type=Report)
