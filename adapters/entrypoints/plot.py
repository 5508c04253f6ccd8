"""A channel's envelope and contractions, drawn in a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import plotille

from domain.analytics import AnalysisParameters, ChannelAnalytics
from domain.emg.envelope import envelope_as_analysed
from domain.ports import RecordingReader

ENVELOPE: Final = "bright_blue"
THRESHOLD: Final = "red"
GOOD: Final = "green"
NOT_GOOD: Final = "yellow"


@dataclass(frozen=True, slots=True)
class Outline:
    """An envelope reduced to what a terminal can show: the highest value in each of equally long pieces."""

    duration_s: float
    highest: tuple[float, ...]


def outline(reader: RecordingReader, path: Path, parameters: AnalysisParameters, channel_name: str, pieces: int) -> Outline:
    """Reads a recording and outlines one channel's envelope, in a worker process."""
    recording = reader.read(path, parameters)
    channel = next(channel for channel in recording.channels if channel.name == channel_name)
    rate_hz = recording.facts.sampling_rate_hz
    envelope = envelope_as_analysed(channel.raw, rate_hz, parameters)
    # The highest, not every n-th: a short contraction must not fall between two points.
    highest = tuple(float(piece.max()) for piece in np.array_split(envelope, min(pieces, len(envelope))))
    return Outline(recording.facts.duration_s, highest)


def draw(channel: ChannelAnalytics, shape: Outline, *, unit: str | None, width: int, colours: bool) -> str:
    """The picture, as lines of text: the envelope, the threshold, and at the foot the contractions, good ones above the others."""
    top = max(*shape.highest, channel.mvc.threshold or 0.0) * 1.05 or 1.0
    figure = plotille.Figure()
    figure.width = max(40, width - 24)
    figure.height = 14
    figure.color_mode = "names"
    figure.with_colors = colours
    figure.set_x_limits(0, shape.duration_s)
    figure.set_y_limits(-0.15 * top, top)
    figure.x_label = "s"
    figure.y_label = f"envelope{f', {unit}' if unit else ''}"
    figure.x_ticks_fkt = _tick
    figure.y_ticks_fkt = _tick
    times = (np.arange(len(shape.highest)) + 0.5) * (shape.duration_s / len(shape.highest))
    figure.plot(times, shape.highest, lc=ENVELOPE)
    if channel.mvc.threshold is not None:
        figure.plot([0, shape.duration_s], [channel.mvc.threshold] * 2, lc=THRESHOLD)
    for item in channel.contractions.items:
        height, colour = (-0.05 * top, GOOD) if item.is_good else (-0.1 * top, NOT_GOOD)
        figure.plot([item.start_ms / 1000, item.end_ms / 1000], [height, height], lc=colour)
    return str(figure.show())


def legend(channel: ChannelAnalytics) -> str:
    """What the colours mean, in Rich's markup."""
    parts = [f"[{ENVELOPE}]envelope[/]"]
    if channel.mvc.threshold is not None:
        parts.append(f"[{THRESHOLD}]threshold ({channel.mvc.threshold_percent:g} % of the {channel.mvc.source} MVC)[/]")
    parts += [f"[{GOOD}]upper marks: good contractions[/]", f"[{NOT_GOOD}]lower marks: too weak or too short[/]"]
    return "  ".join(parts)


def _tick(low: float, _: Any) -> str:
    return f"{low:.3g}"
