"""How a patient's metrics change from session to session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from domain.analytics import ChannelAnalytics, MvcSource
from domain.ports import SessionAnalyticsRepository, SessionQuery, SessionRegistry
from domain.session import SessionId, SessionState

METRICS: Final[Mapping[str, Callable[[ChannelAnalytics], float | int | None]]] = MappingProxyType({
    "rms": lambda channel: channel.rms,
    "mav": lambda channel: channel.mav,
    "mpf_hz": lambda channel: channel.mpf_hz,
    "mdf_hz": lambda channel: channel.mdf_hz,
    "fi_nsm5": lambda channel: channel.fi_nsm5,
    "mvc": lambda channel: channel.mvc.value,
    "contractions": lambda channel: channel.contractions.count,
    "good_contractions": lambda channel: channel.contractions.good,
    "compliance_rate": lambda channel: channel.contractions.compliance_rate,
    "mean_duration_ms": lambda channel: channel.contractions.mean_duration_ms,
    "time_under_tension_ms": lambda channel: channel.contractions.time_under_tension_ms,
    "mean_amplitude": lambda channel: channel.contractions.mean_amplitude,
    "max_amplitude": lambda channel: channel.contractions.max_amplitude,
})  # fmt: skip
"""What can be followed, by name."""


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One session's value of a metric; None: it cannot be computed. `mvc_source` says how far the threshold may be trusted."""

    session_id: SessionId
    recorded_at: datetime | None
    registered_at: datetime
    value: float | int | None
    mvc_source: MvcSource


@dataclass(frozen=True, slots=True)
class Trend:
    """A metric of each channel, in order of recording. `truncated`: there are older sessions than were looked at."""

    sessions: int
    channels: Mapping[str, Sequence[TrendPoint]]
    truncated: bool


async def trend_of(
    registry: SessionRegistry, repository: SessionAnalyticsRepository, patient_code: str, metric: str, *, sessions_max: int
) -> Trend:
    """The trend over the patient's last completed sessions, so many at most, in two round trips."""
    value_of = METRICS[metric]
    query = SessionQuery(patient_code=patient_code, state=SessionState.COMPLETED)
    found = await registry.page(query, limit=sessions_max + 1)
    looked_at = sorted(found[:sessions_max], key=lambda session: (session.recorded_at or datetime.min, session.registered_at))  # noqa: DTZ901
    answers = await repository.get_many([session.session_id for session in looked_at])
    channels: dict[str, list[TrendPoint]] = {}
    for session in looked_at:
        answer = answers.get(session.session_id)
        for channel in () if answer is None else answer.analytics.channels:
            point = TrendPoint(session.session_id, session.recorded_at, session.registered_at, value_of(channel), channel.mvc.source)
            channels.setdefault(channel.name, []).append(point)
    return Trend(len(looked_at), channels, truncated=len(found) > sessions_max)
