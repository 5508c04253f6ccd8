"""Session analytics as tables for a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from domain.analytics import AnalysisParameters, SessionAnalytics

NOTHING = "-"


def number(value: float | None, form: str = ".3g") -> str:
    """A figure, or a dash for what cannot be computed."""
    return NOTHING if value is None else format(value, form)


def measured(value: float | None, form: str, after: str, before: str = "") -> str:
    """A figure among words, or a dash alone for what is not known."""
    return NOTHING if value is None else f"{before}{value:{form}}{after}"


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it, with two digits; a dash for none."""
    if seconds is None:
        return NOTHING
    factor, unit = (1e6, "µs") if seconds < 1e-3 else (1e3, "ms") if seconds < 1 else (1, "s")
    return f"{float(f'{seconds * factor:.2g}'):g} {unit}"


def percent(rate: float | None) -> str:
    """A rate of 0 to 1 as percent."""
    return NOTHING if rate is None else f"{rate:.0%}"


def channel_table(analytics: SessionAnalytics) -> Table:
    """One row a channel, narrow enough for 80 columns. An estimated threshold is marked: it flatters."""
    unit = "" if analytics.recording.amplitude_unit is None else f"\n({escape(analytics.recording.amplitude_unit)})"
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("channel", overflow="fold", min_width=7)
    for heading in (f"RMS{unit}", "mean\n(Hz)", "median\n(Hz)", "good of\nall", "tension\n(s)", f"threshold{unit}", "compliance"):
        table.add_column(heading, justify="right", no_wrap=True)
    for channel in analytics.channels:
        contractions = channel.contractions
        estimated = channel.mvc.threshold is not None and channel.mvc.source == "estimated"
        table.add_row(
            escape(channel.name),
            number(channel.rms),
            number(channel.mpf_hz, ".1f"),
            number(channel.mdf_hz, ".1f"),
            f"{contractions.good} of {contractions.count}",
            number(contractions.time_under_tension_ms / 1000, ".1f"),
            number(channel.mvc.threshold) + ("\n(estimated)" if estimated else ""),
            percent(contractions.compliance_rate),
        )
    return table


def any_estimated(analytics: SessionAnalytics) -> bool:
    """Whether some threshold rests on an estimate, which a reader must be told."""
    return any(channel.mvc.threshold is not None and channel.mvc.source == "estimated" for channel in analytics.channels)


ESTIMATED_NOTE = (
    "(estimated): no maximum voluntary contraction was given, so it was estimated from the same recording, which makes its amplitude "
    "criterion easy to meet; the duration criterion is another."
)


def criteria_of_good(parameters: AnalysisParameters) -> str:
    """What a good contraction is, in a line: a compliance of 0 % may be for want of force or of time."""
    duration_ms = parameters.duration_threshold_ms
    lasting = "" if duration_ms is None else f" for at least {duration_ms / 1000:g} s"
    return f"good: at least {parameters.mvc_threshold_percent:g} % of MVC{lasting}"
