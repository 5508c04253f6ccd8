"""The curves of a report, and some of its tables, as SVG: readable in light and in dark, and the same bytes for the same report.

A picture has a ground of its own. Where whoever shows it says that it is dark there, the style sheet in the picture exchanges the colours;
where style sheets are not heeded, it stays as it was drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from adapters.entrypoints.bench.figures import Curves, Report, Row, Table

# Light colours, and what takes their places in the dark.
_GROUND: Final = "#ffffff"
_INK: Final = "#24292f"
_FAINT: Final = "#d8dee4"
_OURS: Final = "#0b63c4"
_DARK: Final = {
    _GROUND: "#0d1117",
    _INK: "#e6edf3",
    _FAINT: "#30363d",
    _OURS: "#58a6ff",
    "#b35900": "#f0883e",
    "#1a7f37": "#3fb950",
    "#8250df": "#bc8cff",
    "#c2255c": "#ff7bac",
    "#57606a": "#8b949e",
    "#0a7d8c": "#39c5cf",
    "#7a5c00": "#d4a72c",
}
_OTHERS: Final = tuple(_DARK)[4:]
_DASHES: Final = ((), (5, 2), (2, 1.5), (6, 1.5, 1.5, 1.5))
_OUR_NAME: Final = "Emg-Sessions"

_WIDTH_IN: Final = 8.6
_STYLE: Final[Any] = {
    "svg.fonttype": "none",  # Text stays text.
    "svg.hashsalt": "emg-sessions",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "figure.facecolor": _GROUND,
    "axes.facecolor": _GROUND,
    "savefig.facecolor": _GROUND,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": False,
}
_SPAN_OF_LINES: Final = 10.0
_SPAN_OF_DECADES: Final = 1000.0
_SPAN_OF_BARS: Final = 30.0
_FEW: Final = 12


@dataclass(frozen=True, slots=True)
class Picture:
    """A file's name, what it shows in a sentence, and the SVG."""

    name: str
    caption: str
    svg: bytes


def pictures(report: Report) -> list[Picture]:
    """All pictures of a report: of its curves, and of the tables that are better looked at."""
    found = [Picture(f"{curves.name}.svg", _caption(curves), drawn_curves(curves)) for curves in report.curves]
    found += [
        Picture(f"{table.name}.svg", f"{table.title}, in {table.unit}", drawn_bars(table)) for table in report.tables if table.name in _BARS
    ]
    return found


_BARS: Final = ("hits", "http")


def _caption(curves: Curves) -> str:
    return f"{curves.title}: {curves.y_label} by {curves.x_label}"


def drawn_curves(curves: Curves) -> bytes:
    """Lines, with the moments that are marked."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, 4.3), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(curves.title, loc="left", fontweight="bold", pad=18 if curves.marks else None)
        axes.set_xlabel(curves.x_label)
        axes.set_ylabel(curves.y_label)
        values = [y for line in curves.lines for y in line.y if y is not None]
        if _spans(values, _SPAN_OF_LINES):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if _spans(values, _SPAN_OF_DECADES) else (1.0, 2.0, 5.0)))
        few = all(len(line.x) <= _FEW for line in curves.lines)
        if few and _spans([x for line in curves.lines for x in line.x], _SPAN_OF_LINES):
            axes.set_xscale("log")
            axes.set_xticks(sorted({x for line in curves.lines for x in line.x}))
        for line, (colour, width, dash) in zip(curves.lines, _looks([line.way for line in curves.lines]), strict=True):
            y = [float("nan") if value is None else value for value in line.y]
            (drawn,) = axes.plot(line.x, y, label=line.way, color=colour, linewidth=width, marker="o" if few else None, markersize=4)
            drawn.set_dashes(dash)
        for at, what in curves.marks:
            axes.axvline(at, color=_INK, linewidth=0.8, linestyle=(0, (1, 2)))
            axes.annotate(what, (at, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points", fontsize=9)
        if axes.get_yscale() == "linear":
            axes.set_ylim(bottom=0)
        _grid(axes)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, handlelength=3.2)
        return _svg(figure)


def drawn_bars(table: Table) -> bytes:
    """A bar for each way, best first, with the spread and the figure; points on a logarithmic scale, if they are far apart."""
    rows = sorted(table.rows, key=lambda row: row.value.median, reverse=not table.less_is_better)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, 0.9 + 0.34 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(table.title, loc="left", fontweight="bold")
        axes.set_xlabel(f"{table.unit} ({'less' if table.less_is_better else 'more'} is better)")
        _bars(axes, rows)
        _numbers(axes, rows)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _grid(axes, axis="x")
        return _svg(figure)


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    colours = [_OURS if row.way.startswith(_OUR_NAME) else "#57606a" for row in rows]
    medians = [row.value.median for row in rows]
    if _spans(medians, _SPAN_OF_BARS):
        axes.set_xscale("log")
        axes.scatter(medians, [row.way for row in rows], color=colours, s=64, zorder=3)
        axes.margins(x=0.12)
    else:
        axes.barh([row.way for row in rows], medians, color=colours, height=0.62)
        axes.margins(x=0.1)
    for place, row in enumerate(rows):
        axes.plot([row.value.least, row.value.most], [place, place], color=_INK, linewidth=1.2, zorder=4)


def _numbers(axes: Axes, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        axes.annotate(
            _short(row.value.median), (max(row.value.most, row.value.median), place), xytext=(5, 0), textcoords="offset points", va="center"
        )


def _looks(ways: Sequence[str]) -> list[tuple[str, float, tuple[float, ...]]]:
    """Colour, width and dashes: ours stand out, and no two are alike, whoever cannot tell colours apart."""
    looks: list[tuple[str, float, tuple[float, ...]]] = []
    ours = others = 0
    for way in ways:
        if way.startswith(_OUR_NAME):
            looks.append((_OURS, 2.4, _DASHES[ours % len(_DASHES)]))
            ours += 1
        else:
            looks.append((_OTHERS[others % len(_OTHERS)], 1.4, _DASHES[others % len(_DASHES)]))
            others += 1
    return looks


def _spans(values: Sequence[float], times: float) -> bool:
    """Whether the greatest is so many times the least; never, if one is not above 0, for which there is no place on a logarithmic scale."""
    return bool(values) and min(values) > 0 and max(values) >= times * min(values)


def _grid(axes: Axes, axis: Literal["both", "x"] = "both") -> None:
    axes.grid(visible=True, axis=axis, color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in (axes.xaxis, axes.yaxis) if axis == "both" else (axes.xaxis,):
        side.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        side.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    """Three digits, thousands apart, no exponents."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _svg(figure: Figure) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    head, rest = written.getvalue().split(b"<defs>", 1)
    return head + b"<defs>\n" + _dark_style().encode() + rest


def _dark_style() -> str:
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark} !important}}' for light, dark in _DARK.items() for what in ("fill", "stroke")
    )
    return f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
