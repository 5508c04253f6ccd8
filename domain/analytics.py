"""Session analytics: what the analysis of one recording found.

These classes are the document (schema 1): a field here is a key there, in this order. Amplitudes are in the recording's own unit
(`RecordingFacts.amplitude_unit`), times in ms or s and frequencies in Hz as the names say. None means "cannot be computed", never zero.
Values are immutable and may be shared between callers; the few dicts in them are to be read only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from operator import attrgetter
from typing import Final, Literal

from domain.errors import InvalidParameters
from domain.mvc import GivenMvc
from domain.session import SessionId

SCHEMA: Final = 1

Fact = str | int | float | tuple[str | int | float, ...]
_INTEGERS_END: Final = 2**53
_WITHOUT_INTEGERS: Final = frozenset((str, float))

MvcSource = Literal["channel", "session", "estimated"]


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """What is known of a recording besides its signals.

    `recorded_at` is local time without a zone. `game` and `subject` hold what the file says of the game and of the people, under lower-case
    names; everything that may identify a person is in `subject`.
    """

    file_name: str
    sha256: str
    size_bytes: int
    sampling_rate_hz: float
    samples: int
    duration_s: float
    recorded_at: datetime | None
    amplitude_unit: str | None
    system: str | None
    game: dict[str, Fact] = field(default_factory=dict)
    subject: dict[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Integers that a float cannot hold are no counts from a recording but large floats, which some stores write without a point.
        for facts in (self.game, self.subject):
            if _WITHOUT_INTEGERS.issuperset(map(type, facts.values())):
                continue
            for name, fact in facts.items():
                if isinstance(fact, int) and abs(fact) >= _INTEGERS_END:
                    facts[name] = float(fact)
                elif isinstance(fact, tuple) and any(isinstance(part, int) and abs(part) >= _INTEGERS_END for part in fact):
                    facts[name] = tuple(float(part) if isinstance(part, int) and abs(part) >= _INTEGERS_END else part for part in fact)


_ABOVE_ZERO: Final = (
    "window_length_s", "envelope_highpass_hz", "envelope_highpass_order", "envelope_lowpass_hz", "envelope_lowpass_order",
    "envelope_smoothing_s", "mvc_threshold_percent", "onset_fraction_activated", "onset_fraction_envelope", "onset_smoothing_samples",
    "contraction_length_s_max",
)  # fmt: skip
_ABOVE_ZERO_OR_NONE: Final = ("mvc_session", "duration_threshold_ms")
# Checked whenever a document is decoded, so all are had at once.
_values_above_zero: Final = attrgetter(*_ABOVE_ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisParameters:
    """Every parameter of the analysis, with its unit in its name. The defaults are those of the GHOSTLY study.

    `channels` chooses raw channels by glob patterns on their labels; empty means: choose by label and unit. `mvc_session` and
    `mvc_by_channel` give maximum voluntary contractions in the recording's unit; where neither gives one it is estimated.
    `duration_threshold_ms` None means: no duration criterion.
    """

    channels: tuple[str, ...] = ()
    spectrum_window: Literal["hann"] = "hann"
    spectrum_segment_samples: int = 256
    spectrum_overlap_samples: int = 128
    window_length_s: float = 1.0
    window_step_fraction: float = 0.5
    envelope_highpass_hz: float = 20.0
    envelope_highpass_order: int = 4
    envelope_lowpass_hz: float = 10.0
    envelope_lowpass_order: int = 4
    envelope_padding_samples: int = 15
    envelope_smoothing_s: float = 0.05
    mvc_session: float | None = None
    mvc_by_channel: dict[str, float] = field(default_factory=dict)
    mvc_estimate_percentile: float = 95.0
    mvc_threshold_percent: float = 75.0
    duration_threshold_ms: float | None = 2000.0
    onset_fraction_activated: float = 0.05
    onset_fraction_envelope: float = 0.10
    onset_smoothing_samples: int = 100
    contraction_length_s_min: float = 0.1
    contraction_gap_s_max: float = 0.2
    contraction_length_s_max: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.spectrum_overlap_samples < self.spectrum_segment_samples:
            raise InvalidParameters("spectrum_overlap_samples must be at least 0 and less than spectrum_segment_samples")
        if not 0 < self.window_step_fraction <= 1:
            raise InvalidParameters("window_step_fraction must be above 0 and at most 1")
        if not 0 < self.mvc_estimate_percentile <= 100:
            raise InvalidParameters("mvc_estimate_percentile must be above 0 and at most 100")
        if not self.contraction_length_s_min < self.contraction_length_s_max:
            raise InvalidParameters("contraction_length_s_min must be less than contraction_length_s_max")
        if self.envelope_padding_samples < 0:
            raise InvalidParameters("envelope_padding_samples must be at least 0 (0 for no padding)")
        for name, value in (
            ("contraction_length_s_min", self.contraction_length_s_min),
            ("contraction_gap_s_max", self.contraction_gap_s_max),
        ):
            if not 0 <= value < inf:
                raise InvalidParameters(f"{name} must be a number of at least 0, not {value}")
        above_zero = _values_above_zero(self)
        if not (min(above_zero) > 0 and sum(above_zero) < inf):  # Also if one is no number: then the sum is none.
            for name, value in zip(_ABOVE_ZERO, above_zero, strict=True):
                _check_above_zero(name, value)
        for name in _ABOVE_ZERO_OR_NONE:
            if (value := getattr(self, name)) is not None:
                _check_above_zero(name, value)
        for name, value in self.mvc_by_channel.items():
            _check_above_zero(f"mvc_by_channel: the value for {name!r}", value)

    def with_mvc(self, given: GivenMvc | None) -> AnalysisParameters:
        """These parameters for a session with MVC values of its own (None: without), which go before all that are here."""
        if given is None:
            return self
        own = dict(given.by_channel)
        if given.every_channel is not None:
            return replace(self, mvc_session=given.every_channel, mvc_by_channel=own)
        return replace(self, mvc_by_channel=self.mvc_by_channel | own)


def _check_above_zero(name: str, value: float) -> None:
    if not 0 < value < inf:
        raise InvalidParameters(f"{name} must be a number above 0, not {value}")


@dataclass(frozen=True, slots=True)
class Statistics:
    """One metric over all windows. With fewer than 3 values all are None but `count`; `std` has ddof 1; `cv` = std / mean."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    cv: float | None
    count: int


@dataclass(frozen=True, slots=True)
class WindowStatistics:
    """The five metrics over overlapping windows of the raw signal."""

    rms: Statistics
    mav: Statistics
    mpf_hz: Statistics
    mdf_hz: Statistics
    fi_nsm5: Statistics


@dataclass(frozen=True, slots=True)
class EnvelopeStatistics:
    """The linear envelope in the recording's unit; `std` has ddof 0."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Mvc:
    """The maximum voluntary contraction a channel is measured against, and where it comes from.

    "estimated" comes from the same recording: nearly every contraction then exceeds the threshold, so show the source with the figure.
    """

    value: float | None
    source: MvcSource
    threshold: float | None
    threshold_percent: float


@dataclass(frozen=True, slots=True)
class Contraction:
    """One contraction; amplitudes are of the envelope. A criterion that does not exist is None; `is_good` needs all that exist."""

    start_ms: float
    end_ms: float
    duration_ms: float
    mean_amplitude: float
    max_amplitude: float
    meets_mvc: bool | None
    meets_duration: bool | None
    is_good: bool | None


@dataclass(frozen=True, slots=True)
class ContractionSummary:
    """The contractions of one channel; without any, counts and time under tension are 0 and the rest is None."""

    count: int
    good: int
    meets_mvc: int
    meets_duration: int
    mean_duration_ms: float | None
    min_duration_ms: float | None
    max_duration_ms: float | None
    time_under_tension_ms: float
    mean_amplitude: float | None
    max_amplitude: float | None
    compliance_rate: float | None
    items: tuple[Contraction, ...]


@dataclass(frozen=True, slots=True)
class ChannelAnalytics:
    """One EMG channel. `problems` says, in sentences, why metrics are None or rest on less than they should."""

    name: str
    rms: float | None
    mav: float | None
    mpf_hz: float | None
    mdf_hz: float | None
    fi_nsm5: float | None
    windows: WindowStatistics
    envelope: EnvelopeStatistics
    mvc: Mvc
    contractions: ContractionSummary
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """The session in one line. `processed_at` is UTC."""

    channel_count: int
    overall_compliance: float | None
    processed_at: datetime


@dataclass(frozen=True, slots=True)
class SessionAnalytics:
    """Everything the analysis found in one recording: the document."""

    schema: Literal[1]
    session_id: SessionId
    recording: RecordingFacts
    parameters: AnalysisParameters
    channels: tuple[ChannelAnalytics, ...]
    summary: SessionSummary

    def content(self) -> SessionAnalytics:
        """The same analytics without the moment of processing: equal contents mean that a second analysis found nothing new."""
        return replace(self, summary=replace(self.summary, processed_at=_NO_MOMENT))


_NO_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)


def overall_compliance(rates: Mapping[str, float | None]) -> float | None:
    """The mean of the channels' compliance rates that exist (0 to 1), or None if none does."""
    known = [rate for rate in rates.values() if rate is not None]
    return sum(known) / len(known) if known else None
