"""Signals of a recording as somebody wants to see them: a window of time, reduced to the points that a screen can show.

A request is checked against the session's analytics, so that one that cannot be answered opens no file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import Enum
from math import ceil, isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.errors import InvalidSignalRequest, UnknownChannel

# Whoever changes what a preview holds for the same request changes this: nothing of before is found any more.
_EDITION: Final = 1

POINTS_DEFAULT: Final = 2_000
POINTS_MIN: Final = 4
POINTS_ANSWER_MAX: Final = 8_000
"""Points of all signals of an answer together: as JSON they are less than 200 kB."""

PREVIEW_S_MAX: Final = 60.0
"""Making a preview is given up after this long."""


class SignalKind(Enum):
    """raw: as recorded. activated: the recorder's own activity signal. envelope: computed with the parameters of the analysis."""

    RAW = "raw"
    ACTIVATED = "activated"
    ENVELOPE = "envelope"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRequest:
    """What somebody wants to see. `channel` None: all. `end_s` None: to the end. `points` of each signal; None: as many as are usual.

    The window is from `start_s` on, before `end_s`; what it says beyond the recording's end is left out.
    """

    channel: str | None = None
    kinds: tuple[SignalKind, ...] = (SignalKind.RAW,)
    start_s: float = 0.0
    end_s: float | None = None
    points: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalPlan:
    """A request that can be answered: samples `first` to `end` (exclusive) of a recording, with `points` at most for each signal.

    `unanalysed`: by channel, why the analysis could not use it; it has no envelope then.
    """

    recording_sha256: str
    sampling_rate_hz: float
    amplitude_unit: str | None
    channels: tuple[str, ...]
    kinds: tuple[SignalKind, ...]
    first: int
    end: int
    points: int
    parameters: AnalysisParameters
    unanalysed: dict[str, str]

    @property
    def key(self) -> str:
        """64 hex digits: plans with the same key have the same answer, for ever."""
        parameters = asdict(self.parameters)
        told = {
            "edition": _EDITION,
            "recording": self.recording_sha256,
            "channels": self.channels,
            "kinds": [kind.value for kind in self.kinds],
            "window": [self.first, self.end],
            "points": self.points,
            "parameters": {name: value for name, value in parameters.items() if name == "channels" or name.startswith("envelope_")},
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class ReducedSignal:
    """The points of one signal: numbers of samples, counted from the recording's begin, rising; and their values, of the same shape.

    `missing`: why there are no points.
    """

    channel: str
    kind: SignalKind
    samples: NDArray[np.uint32]
    values: NDArray[np.float32]
    missing: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SignalPreview:
    """The answer to a plan: every channel's signals of every kind asked for, in the plan's order."""

    key: str
    signals: tuple[ReducedSignal, ...]


def planned(analytics: SessionAnalytics, request: SignalRequest) -> SignalPlan:
    """How to answer a request. Raises UnknownChannel and InvalidSignalRequest."""
    facts = analytics.recording
    names = tuple(channel.name for channel in analytics.channels)
    if request.channel is not None and request.channel not in names:
        raise UnknownChannel(names)
    if not request.kinds:
        raise InvalidSignalRequest("kind: at least one is needed, of raw, activated and envelope")
    channels = names if request.channel is None else (request.channel,)
    kinds = tuple(kind for kind in SignalKind if kind in request.kinds)
    first, end = _window(request, facts.samples, facts.sampling_rate_hz, facts.duration_s)
    return SignalPlan(
        recording_sha256=facts.sha256,
        sampling_rate_hz=facts.sampling_rate_hz,
        amplitude_unit=facts.amplitude_unit,
        channels=channels,
        kinds=kinds,
        first=first,
        end=end,
        points=min(_points(request.points, len(channels) * len(kinds)), end - first),
        parameters=analytics.parameters,
        unanalysed={
            channel.name: "the channel " + "; it ".join(channel.problems) for channel in analytics.channels if channel.envelope.max is None
        },
    )


def _window(request: SignalRequest, samples: int, sampling_rate_hz: float, duration_s: float) -> tuple[int, int]:
    start_s, end_s = request.start_s, duration_s if request.end_s is None else request.end_s
    if not (isfinite(start_s) and isfinite(end_s)):
        raise InvalidSignalRequest("start_s and end_s must be numbers")
    if start_s < 0:
        raise InvalidSignalRequest(f"start_s must be at least 0, not {start_s:g}")
    if start_s >= duration_s:
        raise InvalidSignalRequest(f"start_s must be less than the recording's {duration_s:g} s, not {start_s:g}")
    if end_s <= start_s:
        raise InvalidSignalRequest(f"end_s must be greater than start_s, {start_s:g}, and not {end_s:g}")
    first, end = _sample_at(start_s, sampling_rate_hz), min(samples, _sample_at(min(end_s, duration_s), sampling_rate_hz))
    if first >= end:
        raise InvalidSignalRequest(f"the window from start_s {start_s:g} to end_s {end_s:g} holds no sample at {sampling_rate_hz:g} Hz")
    return first, end


def _sample_at(moment_s: float, sampling_rate_hz: float) -> int:
    """The first sample at or after a moment; a moment that misses a sample by rounding alone means that sample."""
    exact = moment_s * sampling_rate_hz
    nearest = round(exact)
    return nearest if abs(exact - nearest) <= 1e-6 else ceil(exact)


def _points(wanted: int | None, signals: int) -> int:
    most = POINTS_ANSWER_MAX // signals
    if most < POINTS_MIN:
        raise InvalidSignalRequest(f"{signals} signals are too many for one answer; ask for fewer channels or kinds")
    if wanted is None:
        return min(POINTS_DEFAULT, most)
    if not POINTS_MIN <= wanted <= most:
        raise InvalidSignalRequest(f"points must be from {POINTS_MIN} to {most} for {signals} signals, not {wanted}")
    return wanted
