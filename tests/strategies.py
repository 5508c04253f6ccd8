"""Session analytics for tests: one with every field set, and any at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from domain.analytics import (
    AnalysisParameters,
    ChannelAnalytics,
    Contraction,
    ContractionSummary,
    EnvelopeStatistics,
    Mvc,
    RecordingFacts,
    SessionAnalytics,
    SessionSummary,
    Statistics,
    WindowStatistics,
)
from domain.mvc import GivenMvc
from domain.session import SessionId, SessionState, TherapySession


def examples(count: int) -> settings:
    """So many examples. Fixtures may serve several: what is stored is told apart by its session."""
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


def new_id() -> SessionId:
    """A session that nobody knows."""
    return SessionId(uuid4())


def statistics(start: float) -> Statistics:
    return Statistics(start + 0.1, start + 0.2, start + 0.3, start + 0.4, start + 0.5, round(start) + 7)


def some_channel(name: str = "CH1", compliance: float | None = 0.25) -> ChannelAnalytics:
    """A channel in which no field is absent, and no two are equal."""
    contraction = Contraction(120.5, 2420.75, 2300.25, 0.00021, 0.00034, meets_mvc=True, meets_duration=False, is_good=False)
    return ChannelAnalytics(
        name=name,
        rms=1.25e-4,
        mav=9.5e-5,
        mpf_hz=83.5,
        mdf_hz=71.25,
        fi_nsm5=3.25e-14,
        windows=WindowStatistics(statistics(1), statistics(2), statistics(3), statistics(4), statistics(5)),
        envelope=EnvelopeStatistics(1e-4, 2e-5, 1e-6, 3e-4),
        mvc=Mvc(4.5e-4, "session", 3.375e-4, 75.0),
        contractions=ContractionSummary(
            4, 1, 2, 3, 1500.5, 900.25, 2300.75, 6002.0, 2.5e-4, 3.5e-4, compliance, (contraction, replace(contraction, start_ms=3000.125))
        ),
        problems=("the spectrum has no power above 20 Hz",),
    )


def some_analytics(session_id: SessionId | None = None, **changes: Any) -> SessionAnalytics:
    """Analytics in which no field is absent or a default. `changes` replace whole parts."""
    analytics = SessionAnalytics(
        schema=1,
        session_id=session_id or new_id(),
        recording=RecordingFacts(
            file_name="Ghostly_Emg_20250310_11-50-16-0578.c3d",
            sha256="0123456789abcdef" * 4,
            size_bytes=1_234_567,
            sampling_rate_hz=990.0,
            samples=74_250,
            duration_s=75.0,
            recorded_at=datetime(2025, 3, 10, 11, 50, 16, 578_123),  # noqa: DTZ001 - recordings name no time zone
            amplitude_unit="V",
            system="GHOSTLY",
            game={"lvl": 3, "name": "Maze Größe→", "score": 12.5, "values": ("a", 1, 2.5)},
            subject={"therapist": "T-7"},
        ),
        parameters=AnalysisParameters(
            channels=("CH*", "Ü?"),
            spectrum_segment_samples=512,
            spectrum_overlap_samples=64,
            window_length_s=2.0,
            window_step_fraction=0.25,
            envelope_highpass_hz=21.0,
            envelope_highpass_order=3,
            envelope_lowpass_hz=11.0,
            envelope_lowpass_order=5,
            envelope_padding_samples=16,
            envelope_smoothing_s=0.06,
            mvc_session=4.5e-4,
            mvc_by_channel={"CH1": 3e-4},
            mvc_estimate_percentile=96.0,
            mvc_threshold_percent=76.0,
            duration_threshold_ms=2001.0,
            onset_fraction_activated=0.06,
            onset_fraction_envelope=0.11,
            onset_smoothing_samples=101,
            contraction_length_s_min=0.11,
            contraction_gap_s_max=0.21,
            contraction_length_s_max=10.5,
        ),
        channels=(some_channel(),),
        summary=SessionSummary(1, 0.25, datetime(2025, 3, 11, 8, 30, 1, 1, tzinfo=UTC)),
    )
    return replace(analytics, **changes)


def edition(session_id: SessionId, number: int) -> SessionAnalytics:
    """Analytics of a session, another content for each number; `number_of` tells it again."""
    return some_analytics(session_id, summary=SessionSummary(number, 0.5, datetime(2025, 3, 11, tzinfo=UTC)))


def number_of(analytics: SessionAnalytics) -> int:
    return analytics.summary.channel_count


def some_session(session_id: SessionId | None = None, **changes: Any) -> TherapySession:
    """A session as the registry knows it."""
    session = TherapySession(
        session_id=session_id or new_id(),
        file_name="Größe →1.c3d",
        recording_sha256=uuid4().hex + uuid4().hex,
        size_bytes=5_000_000_000,
        recorded_at=datetime(2025, 3, 10, 11, 50, 16, 578_123),  # noqa: DTZ001 - recordings name no time zone
        registered_at=datetime(2025, 3, 11, 8, 30, 1, 1, tzinfo=UTC),
        patient_code="P-Ü→1",
        recording_key="c3d/P-1/Größe →1.c3d",
        state=SessionState.RECEIVED,
    )
    return replace(session, **changes)


# What is left out here (surrogates, character 0, minus zero, float facts without a fraction from 1e16 on, the order of facts) has tests of
# its own: tests/integration/postgres/test_documents.py, and the contract of repositories for the order.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
# Adding zero makes 0.0 of -0.0.
number = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)
maybe = st.none() | number
positive = st.floats(1e-300, 1e300)
channel_name = text.filter(lambda name: bool(name.strip()) and name.isprintable())
any_mvc = st.builds(
    lambda every_channel, by_channel: GivenMvc(every_channel, tuple(by_channel.items())),
    positive,
    st.dictionaries(channel_name, positive, max_size=3),
) | st.builds(lambda by_channel: GivenMvc(None, tuple(by_channel.items())), st.dictionaries(channel_name, positive, min_size=1, max_size=3))
count = st.integers(0, 2**31 - 1)
scalar = text | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e15, 1e15).map(lambda x: x + 0.0)
facts = st.dictionaries(text, scalar | st.lists(scalar, max_size=3).map(tuple), max_size=1)
local_time = st.datetimes()
utc_time = st.datetimes(max_value=datetime(8999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is the other argument

any_statistics = st.builds(Statistics, maybe, maybe, maybe, maybe, maybe, count)
any_contraction = st.builds(
    Contraction, number, number, number, number, number, *[st.none() | st.booleans() for _ in range(3)]
)  # fmt: skip
any_channel = st.builds(
    ChannelAnalytics,
    name=text,
    rms=maybe,
    mav=maybe,
    mpf_hz=maybe,
    mdf_hz=maybe,
    fi_nsm5=maybe,
    windows=st.builds(WindowStatistics, *[any_statistics for _ in range(5)]),
    envelope=st.builds(EnvelopeStatistics, maybe, maybe, maybe, maybe),
    mvc=st.builds(Mvc, maybe, st.sampled_from(["channel", "session", "estimated"]), maybe, number),
    contractions=st.builds(
        ContractionSummary, count, count, count, count, maybe, maybe, maybe, number, maybe, maybe, maybe,
        st.lists(any_contraction, max_size=3).map(tuple),
    ),
    problems=st.lists(text, max_size=2).map(tuple),
)  # fmt: skip
any_parameters = st.builds(
    AnalysisParameters,
    channels=st.lists(text, max_size=3).map(tuple),
    window_length_s=positive,
    mvc_session=st.none() | positive,
    mvc_by_channel=st.dictionaries(text, positive, max_size=1),
    duration_threshold_ms=st.none() | positive,
    contraction_gap_s_max=st.floats(0, 1e300).map(lambda x: x + 0.0),
)

any_analytics = st.builds(
    SessionAnalytics,
    schema=st.just(1),
    session_id=st.builds(new_id),
    recording=st.builds(
        RecordingFacts, text, text, st.integers(0, 2**53), number, count, number, st.none() | local_time, st.none() | text,
        st.none() | text, facts, facts,
    ),
    parameters=any_parameters,
    channels=st.lists(any_channel, max_size=3).map(tuple),
    summary=st.builds(SessionSummary, count, maybe, utc_time),
)  # fmt: skip
