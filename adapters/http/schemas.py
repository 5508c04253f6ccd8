"""What requests and answers look like on the wire, apart from the analytics document, which is the domain's own."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from adapters.http.problems import MEDIA_TYPE
from domain.access import Viewer
from domain.analytics import SessionAnalytics
from domain.mvc import GivenMvc
from domain.ports import AnalyticsAnswer, PatientSessions
from domain.session import TherapySession
from services.patient_trends import Trend

State = Literal["received", "processing", "completed", "failed"]

MetricName = Literal[
    "rms", "mav", "mpf_hz", "mdf_hz", "fi_nsm5", "mvc", "contractions", "good_contractions", "compliance_rate", "mean_duration_ms",
    "time_under_tension_ms", "mean_amplitude", "max_amplitude",
]  # fmt: skip
Absent = SkipJsonSchema[None]
"""What a parameter is that was not given, which is nothing that could be sent."""
_LOCAL_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?$"
_LOCAL_TIME_SCHEMA: Final = WithJsonSchema({
    "type": "string",
    "description": "Local time at the place of recording, without a zone: recordings name none.",
    "pattern": _LOCAL_TIME,
    "examples": ["2026-03-02T10:00:00.417000"],
})  # fmt: skip


def _only_local_time(value: object) -> datetime:
    # pydantic would take numbers for seconds since 1970, and zones that then have to be thrown away.
    if not isinstance(value, str) or not re.match(_LOCAL_TIME, value):
        raise ValueError("a local time looks like 2026-03-01T00:00:00")
    return datetime.fromisoformat(value)


LocalTime = Annotated[datetime, _LOCAL_TIME_SCHEMA]
GivenLocalTime = Annotated[datetime, BeforeValidator(_only_local_time), _LOCAL_TIME_SCHEMA]
CODE_PATTERN: Final = r"^[^\x00-\x1f\x7f]+$"

_ID: Final = "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"


class WrongPart(BaseModel):
    """One part of a request that is not as it should be; its value is not repeated."""

    where: str = Field(alias="in", description="body, query, path or header", examples=["query"])
    name: str = Field(examples=["limit"])
    detail: str = Field(examples=["Input should be less than or equal to 200"])


class ProblemDocument(BaseModel):
    """A problem (RFC 9457)."""

    type: str = Field(description="What kind of problem it is.", examples=["urn:problem-type:emg-sessions:session-not-found"])
    title: str = Field(examples=["There is no such session"])
    status: int = Field(examples=[404])
    detail: str | None = None
    errors: list[WrongPart] | None = Field(None, description="Which parts of the request are wrong.")


class ChannelInBrief(BaseModel):
    """One channel in one line."""

    name: str = Field(examples=["CH1"])
    contractions: int = Field(examples=[12])
    good_contractions: int = Field(examples=[9])
    compliance_rate: float | None = Field(description="Share of good contractions; null if it cannot be computed.", examples=[0.75])
    mvc_source: Literal["channel", "session", "estimated"] = Field(
        description="Where the maximum voluntary contraction comes from: nearly every contraction exceeds an estimated one's threshold."
    )


class AnalyticsInBrief(BaseModel):
    """The analytics in a few lines."""

    version: int = Field(examples=[1])
    overall_compliance: float | None = Field(examples=[0.75])
    processed_at: datetime
    duration_s: float = Field(examples=[174.9])
    channels: list[ChannelInBrief]

    @classmethod
    def of(cls, answer: AnalyticsAnswer) -> "AnalyticsInBrief":
        """From an answer of the repository. Nothing in it is about a person."""
        analytics: SessionAnalytics = answer.analytics
        return cls(
            version=answer.version,
            overall_compliance=analytics.summary.overall_compliance,
            processed_at=analytics.summary.processed_at,
            duration_s=analytics.recording.duration_s,
            channels=[
                ChannelInBrief(
                    name=channel.name,
                    contractions=channel.contractions.count,
                    good_contractions=channel.contractions.good,
                    compliance_rate=channel.contractions.compliance_rate,
                    mvc_source=channel.mvc.source,
                )
                for channel in analytics.channels
            ],
        )


class GivenMvcValues(BaseModel):
    """Maximum voluntary contractions that were given with a recording, in its unit."""

    every_channel: float | None = Field(description="Of every channel that is not named; null: not given.", examples=[0.0003])
    by_channel: dict[str, float] = Field(description="Of single channels.", examples=[{"CH1": 0.0003}])

    @classmethod
    def of(cls, mvc: GivenMvc) -> "GivenMvcValues":
        """From what the registry knows."""
        return cls(every_channel=mvc.every_channel, by_channel=dict(mvc.by_channel))


class Session(BaseModel):
    """A session, and what became of its recording."""

    id: UUID = Field(examples=[_ID])
    state: Literal["received", "processing", "completed", "failed", "duplicate"] = Field(
        description="received: waits for a worker; processing; completed: its analytics can be read; failed: `failure` says why."
    )
    progress: float = Field(description="The share of the processing that is done, 0 to 1.", examples=[1.0])
    failure: str | None = Field(description="Why the recording could not be analysed.")
    file_name: str = Field(examples=["Ghostly_Emg_20260302_10-00-00-0417.c3d"])
    size_bytes: int | None = Field(description="Null until the recording was read once.", examples=[1_048_576])
    recording_sha256: str | None = Field(description="Null until the recording was read once.")
    recorded_at: LocalTime | None = Field(description="Local time at the place of recording: recordings name no time zone.")
    registered_at: datetime
    patient_code: str | None = Field(description="The pseudonym of the patient.", examples=["P042"])
    mvc: GivenMvcValues | None = Field(
        None, description="The maximum voluntary contractions that were last given with the recording; null: none were, and settings count."
    )
    analytics: AnalyticsInBrief | None = Field(
        None, description="Null until the session is completed; while it is analysed anew, those from before."
    )
    analytics_url: str = Field(examples=[f"/api/v1/sessions/{_ID}/analytics"])

    @classmethod
    def of(cls, session: TherapySession, answer: AnalyticsAnswer | None) -> "Session":
        """From what the registry and the repository know."""
        return cls(
            id=session.session_id,
            state=session.state.value,
            progress=session.progress,
            failure=session.failure,
            file_name=session.file_name,
            size_bytes=session.size_bytes,
            recording_sha256=session.recording_sha256,
            recorded_at=session.recorded_at,
            registered_at=session.registered_at,
            patient_code=session.patient_code,
            mvc=None if session.mvc is None else GivenMvcValues.of(session.mvc),
            analytics=None if answer is None else AnalyticsInBrief.of(answer),
            analytics_url=f"/api/v1/sessions/{session.session_id}/analytics",
        )


class RecordingInDetail(BaseModel):
    """What a recording says of itself, its game and the people in it."""

    model_config = ConfigDict(extra="forbid")

    sampling_rate_hz: float
    samples: int
    duration_s: float
    amplitude_unit: str | None
    system: str | None = Field(description="The system that recorded it.")
    game: dict[str, Any] = Field(description="What the file says of the game.")
    subject: dict[str, Any] | None = Field(description="What the file says of the people in it; null for researchers.")

    @classmethod
    def of(cls, analytics: SessionAnalytics, viewer: Viewer) -> "RecordingInDetail":
        """From the analytics, as far as somebody may see it."""
        facts = analytics.recording
        return cls(
            sampling_rate_hz=facts.sampling_rate_hz,
            samples=facts.samples,
            duration_s=facts.duration_s,
            amplitude_unit=facts.amplitude_unit,
            system=facts.system,
            game=dict(facts.game),
            subject=dict(facts.subject) if viewer.sees_subjects else None,
        )


class SessionInDetail(Session):
    """A session with what its recording says."""

    recording: RecordingInDetail | None = Field(None, description="Null until the recording was analysed.")


class SessionPage(BaseModel):
    """One page of sessions, newest first."""

    sessions: list[Session]
    next_cursor: str | None = Field(description="Pass it as `cursor` to get the next page; null on the last one.")


class Patient(BaseModel):
    """A patient who has sessions."""

    patient_code: str = Field(description="The pseudonym of the patient.", examples=["P042"])
    sessions: int = Field(description="In any state; duplicates are not counted.", examples=[12])
    last_recorded_at: LocalTime | None = Field(description="Null if no recording says when it was made.")
    last_registered_at: datetime

    @classmethod
    def of(cls, patient: PatientSessions) -> "Patient":
        """From what the registry knows."""
        return cls(
            patient_code=patient.patient_code,
            sessions=patient.sessions,
            last_recorded_at=patient.last_recorded_at,
            last_registered_at=patient.last_registered_at,
        )


class PatientPage(BaseModel):
    """One page of patients."""

    patients: list[Patient]
    next_cursor: str | None = Field(description="Pass it as `cursor` to get the next page; null on the last one.")


class AnalyticsOfOne(BaseModel):
    """One session's analytics in a batch."""

    session_id: UUID
    version: int
    stale: bool = Field(description="Whether the database failed, and this is what was kept, past its promise.")
    document: SessionAnalytics


class AnalyticsBatch(BaseModel):
    """Many sessions' analytics."""

    analytics: list[AnalyticsOfOne] = Field(description="In the order in which they were asked for.")
    missing: list[UUID] = Field(description="Those that do not exist, may not be seen, or were not analysed yet.")


class PointOfTrend(BaseModel):
    """One session's value."""

    session_id: UUID
    recorded_at: LocalTime | None
    registered_at: datetime
    value: float | None = Field(description="Null if it cannot be computed.")
    mvc_source: Literal["channel", "session", "estimated"]


class ChannelTrend(BaseModel):
    """One channel's values, in order of recording."""

    name: str = Field(examples=["CH1"])
    points: list[PointOfTrend]


class PatientTrend(BaseModel):
    """A metric over a patient's sessions."""

    patient_code: str = Field(examples=["P042"])
    metric: MetricName
    sessions: int = Field(description="How many sessions were looked at.")
    truncated: bool = Field(description="Whether there are older ones.")
    channels: list[ChannelTrend]

    @classmethod
    def of(cls, patient_code: str, metric: MetricName, trend: Trend) -> "PatientTrend":
        """From what the service found."""
        return cls(
            patient_code=patient_code,
            metric=metric,
            sessions=trend.sessions,
            truncated=trend.truncated,
            channels=[
                ChannelTrend(
                    name=name,
                    points=[
                        PointOfTrend(
                            session_id=point.session_id,
                            recorded_at=point.recorded_at,
                            registered_at=point.registered_at,
                            value=point.value,
                            mvc_source=point.mvc_source,
                        )
                        for point in points
                    ],
                )
                for name, points in trend.channels.items()
            ],
        )


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem documents that a route may answer, for its OpenAPI description."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
        for status in statuses
    }


def header(description: str, *, always: bool = False, kind: str = "string", example: object = None) -> dict[str, Any]:
    """A header of an answer, for its OpenAPI description. `always`: it is never left out."""
    described: dict[str, Any] = {"description": description, "schema": {"type": kind}}
    if always:
        described["required"] = True
    return described if example is None else {**described, "example": example}


LOCATION: Final = {"Location": header("The session, or where it tells what was asked for.", always=True)}
PERHAPS_LOCATION: Final = {"Location": header("The session, if there is one.")}


_DESCRIPTIONS: Final = {
    400: "An id, a cursor, a header or a body that is none.",
    401: "No bearer token, or one that is not valid.",
    403: "The role may not do that; or, without keys, the request comes from elsewhere.",
    404: "There is no such thing, or it may not be seen.",
    406: "The client accepts no coding, or no media type, that there is.",
    408: "The body did not arrive in time.",
    409: "It contradicts what is known already.",
    413: "The request is too large.",
    415: "The body has another content type than this route reads.",
    422: "The request is not as it should be; `errors` says where.",
    429: "Too often; `Retry-After` says when again.",
    500: "What is stored cannot be read, or something unforeseen happened; the service's log says more.",
    503: "The storage does not answer; try again.",
}
