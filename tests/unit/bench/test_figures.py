"""What a run finds, as data and as Markdown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from adapters.entrypoints.bench import markdown, readme
from adapters.entrypoints.bench.figures import (
    Asked,
    Configured,
    Curves,
    Document,
    Line,
    Machine,
    Report,
    Row,
    Spread,
    Table,
    from_json,
    to_json,
)
from domain.errors import InvalidSettings

HITS = Table(
    name="hits",
    title="A hit",
    unit="µs",
    less_is_better=True,
    reference="theirs",
    rows=(Row("theirs", Spread(4.0, 3.0, 1234.5), Spread(1, 1, 1)), Row("ours", Spread(2.0, 1.0, 3.0), Spread(2.0, 1.5, 2.5))),
    notes=("A note.",),
)
REPORT = Report(
    began_at=datetime(2026, 3, 2, 10, 0, tzinfo=UTC),
    pace="full",
    machine=Machine("A processor", 2, "Linux 6.1", "CPython 3.11.7", "asyncio"),
    versions={"PostgreSQL": "18.1", "redis": "8.1.0"},
    documents=(Document("a real recording", 15_600, 4_300),),
    tables=(HITS, replace(HITS, name="misses", title="A miss", reference=None)),
    curves=(Curves("throughput", "Throughput", "readers", "reads a second", (Line("ours", (1.0, 64.0), (10.0, None)),), ((3.0, "gone"),)),),
    asked=(Asked.at_least("near", 1.5, [1.4, 1.6, 1.7], "times"), Asked.at_most("heartbeat", 5, [6.0], "µs")),
    peers=(Configured("theirs", "as it comes", "https://example.org/docs"),),
)


def test_a_report_is_read_back_as_it_was_written() -> None:
    assert from_json(to_json(REPORT)) == REPORT


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        from_json(b'{"tables": 3}')


@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        (Asked.at_least("it", 2, [1.0, 2.0, 3.0], "times"), True),
        (Asked.at_least("it", 2, [1.0, 1.99, 3.0], "times"), False),
        (Asked.at_most("it", 2, [1.0, 2.0, 3.0], "µs"), True),
        (Asked.at_most("it", 2, [1.0, 2.01, 3.0], "µs"), False),
        (Asked.at_most("it", 15, [-30.0, -20.0, 40.0], "µs"), True),
    ],
)
def test_what_was_asked_holds_if_the_median_does(asked: Asked, holds: bool) -> None:
    assert asked.holds is holds


def test_a_table_shows_the_best_first_and_what_it_compares_with() -> None:
    shown = markdown.table(HITS)
    assert shown.index("| ours | 2 (1 to 3) | 2 (1.5 to 2.5) |") < shown.index("| theirs | 4 (3 to 1,234) | 1 |")
    assert "µs (less is better)" in shown
    assert "times as fast as theirs" in shown
    assert shown.endswith("A note.")
    more = markdown.table(replace(HITS, less_is_better=False))
    assert more.index("| theirs |") < more.index("| ours |")


def test_a_page_says_when_where_with_what_and_how_each_peer_is_set_up() -> None:
    page = markdown.page(REPORT)
    for words in (
        "02 March 2026",
        "A processor, 2 processors",
        "PostgreSQL 18.1",
        "15,600 bytes",
        "**theirs**: as it comes (https://example.org",
    ):
        assert words in page
    assert "| near | at least 1.5 times | 1.6 (1.4 to 1.7) times | yes |" in page
    assert "| heartbeat | at most 5 µs | 6 µs | **no** |" in page


def test_a_page_of_a_run_without_asked_figures_has_no_empty_table() -> None:
    assert "| asked |" not in markdown.page(replace(REPORT, asked=()))


def test_the_readmes_block_is_renewed_and_nothing_else() -> None:
    text = f"# Title\n\n{readme.BEGIN}\nold | figures\n{readme.END}\n\nThe rest.\n"
    renewed = readme.renewed(text, REPORT)
    assert renewed.startswith(f"# Title\n\n{readme.BEGIN}")
    assert renewed.endswith(f"{readme.END}\n\nThe rest.\n")
    assert "old | figures" not in renewed
    assert "02 March 2026" in renewed
    assert "![A hit](docs/bench/hits.svg)" in renewed
    assert "A miss" not in renewed  # Which is for the report alone.
    assert readme.renewed(renewed, REPORT) == renewed


@pytest.mark.parametrize("text", ["", readme.BEGIN, readme.END + readme.BEGIN, readme.BEGIN + readme.END + readme.BEGIN])
def test_a_readme_without_its_markers_is_left_alone(text: str) -> None:
    with pytest.raises(InvalidSettings, match="two lines"):
        readme.renewed(text, REPORT)
