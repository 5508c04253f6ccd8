"""`POST /api/v1/recordings`: a recording, uploaded directly. It is stored while it arrives, and never whole in memory."""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from adapters.http.access import Viewing, forbidden
from adapters.http.needs import HttpNeeds, needed
from adapters.http.problems import Kind, Problem, problem_of
from adapters.http.schemas import LOCATION, PERHAPS_LOCATION, header, problems
from adapters.http.upload_form import MalformedForm, NotAForm, UploadForm
from domain.access import Viewer
from domain.errors import InvalidMvc, InvalidPatientCode, OtherPatient
from domain.mvc import TEXT_LENGTH_MAX, GivenMvc, parse_mvc
from domain.patient import PATIENT_CODE, parse_patient_code
from domain.ports import Allowance, PatientAssignments, RateLimit, Traces
from services.recording_intake import Received, RecordingIntake

PATH: Final = "/api/v1/recordings"

NOT_A_FORM: Final = Kind("wrong-content-type", 415, "The body has the wrong content type")
MALFORMED_FORM: Final = Kind("malformed-upload", 422, "The upload is not as it should be")
CLIENT_GONE: Final = Kind("client-gone", 400, "The client went away before its upload was whole")
TOO_MANY_UPLOADS: Final = Kind("too-many-uploads", 429, "Too many uploads")
OTHERS_RECORDING: Final = Kind("recording-known", 409, "The recording is known, and its session may not be seen")

_OTHERS_PATIENT: Final = "this patient is not assigned to you"  # Also said of one who is nobody's and has sessions.


_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "patient": {
                            "type": "string",
                            "pattern": f"^({PATIENT_CODE.pattern})?$",
                            "description": "The pseudonym of the patient. Must come before `file`. Therapists must give one. A session "
                            "of the same bytes that has no patient gets this one.",
                            "examples": ["P042"],
                        },
                        "mvc": {
                            "type": "string",
                            "maxLength": TEXT_LENGTH_MAX,
                            "description": "Maximum voluntary contractions that were measured, in the recording's unit: `CHANNEL=VALUE`, "
                            "or `VALUE` for every channel, separated by commas. Must come before `file`. They go before the settings, and "
                            "take the place of those that the same bytes came with earlier. Empty: nothing is changed.",
                            "examples": ["CH1=0.0003,CH2=0.00041"],
                        },
                        "file": {"type": "string", "format": "binary", "description": "The C3D file."},
                    },
                }
            }
        },
    }
}

router = APIRouter(tags=["recordings"])


class RecordingTaken(BaseModel):
    """The session of an uploaded recording."""

    status: Literal["received", "known", "remeasured"] = Field(
        description="received: a new session; known: the same bytes were received before; remeasured: they were, and are analysed anew "
        "with other MVC values."
    )
    session_id: UUID
    session_url: str = Field(description="Where its state is told.", examples=["/api/v1/sessions/6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"])
    state: Literal["received", "processing", "completed", "failed", "duplicate"]


_RATE_LIMIT_HEADERS: Final = {
    "RateLimit-Policy": header("How many uploads are granted in how many seconds.", always=True, example='"uploads";q=30;w=60'),
    "RateLimit": header("How many are left, and for how many seconds.", always=True, example='"uploads";r=29;t=60'),
}
_HEADERS: Final = {**LOCATION, **_RATE_LIMIT_HEADERS}


async def _uploader(viewer: Viewing, response: Response, limit: Annotated[RateLimit, needed(HttpNeeds.upload_limit)]) -> Viewer:
    if not viewer.may_upload:
        raise forbidden("recordings are uploaded by therapists and admins")
    allowance = await limit.take(viewer.subject)
    headers = _rate_limit_headers(allowance)
    if not allowance.granted:
        detail = f"{allowance.limit} uploads a minute are granted (UPLOADS_PER_MINUTE_MAX)"
        raise Problem(TOO_MANY_UPLOADS, detail, headers={**headers, "Retry-After": str(allowance.reset_s)})
    response.headers.update(headers)
    return viewer


@router.post(
    PATH,
    status_code=202,
    summary="Upload a recording",
    responses={
        200: {"model": RecordingTaken, "description": "The same bytes were received before.", "headers": _HEADERS},
        202: {"headers": _HEADERS},
        **problems(400, 401, 403, 415, 422, 503),
        409: {**problems(409)[409], "headers": PERHAPS_LOCATION},
        429: {**problems(429)[429], "headers": _RATE_LIMIT_HEADERS},
    },
    openapi_extra=_FORM,
)
async def upload(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    response: Response,
    viewer: Annotated[Viewer, Depends(_uploader)],
    intake: Annotated[RecordingIntake, needed(HttpNeeds.recording_intake)],
    assignments: Annotated[PatientAssignments, needed(HttpNeeds.patient_assignments)],
    traces: Annotated[Traces, needed(HttpNeeds.traces)],
) -> RecordingTaken:
    """Takes one C3D file. Its analysis is queued; `Location` says where to look what became of it.

    A therapist uploads for patients who are theirs, and for new ones: assigned to nobody, and without a session. The latter become theirs.
    """
    try:
        with traces.span("upload"):
            received, code, mvc = await _received(request, viewer, intake, assignments)
    except NotAForm as error:
        raise Problem(NOT_A_FORM, str(error)) from None
    except MalformedForm as error:
        raise Problem(MALFORMED_FORM, str(error)) from None
    except ClientDisconnect:
        raise Problem(CLIENT_GONE) from None  # Nobody reads it; the log counts it.
    if not await _may_see(viewer, received, assignments):
        raise Problem(OTHERS_RECORDING, "its bytes are those of a recording of a patient who is not assigned to you")
    url = f"/api/v1/sessions/{received.session.session_id}"
    if code is not None and received.session.patient_code not in (None, code):
        problem = problem_of(OtherPatient(received.session.file_name))
        raise Problem(problem.kind, problem.detail, headers={"Location": url})
    received = await intake.remeasure(received, mvc)
    response.headers["Location"] = url
    if not received.new and not received.remeasured:
        response.status_code = 200
    return RecordingTaken(
        status="received" if received.new else "remeasured" if received.remeasured else "known",
        session_id=received.session.session_id,
        session_url=url,
        state=received.session.state.value,
    )


async def _received(
    request: Request, viewer: Viewer, intake: RecordingIntake, assignments: PatientAssignments
) -> tuple[Received, str | None, GivenMvc | None]:
    form = UploadForm(request.stream(), request.headers.get("content-type", ""))
    await form.read_head()
    code = form.patient_code
    if code is None and viewer.sees_own_patients_only:
        raise MalformedForm("the field `patient` is missing, and must come before `file`: without it you could not see the session")

    try:
        if code is not None:
            parse_patient_code(code)
        mvc = parse_mvc(form.mvc)
    except InvalidPatientCode as error:
        raise MalformedForm(str(error)) from None
    except InvalidMvc as error:
        raise MalformedForm(f"the field `mvc` must look like CH1=0.0003,CH2=0.00041: {error}") from None

    async def claim() -> None:
        if code is not None and viewer.sees_own_patients_only and not await assignments.claim(code, viewer.subject):
            raise forbidden(_OTHERS_PATIENT)

    # Asked now, so that nothing is stored of what will be refused. Claimed when the recording is whole, so that an upload that fails, or
    # whose bytes are another session's, assigns nobody.
    if code is not None and viewer.sees_own_patients_only and not await assignments.is_open_to(code, viewer.subject):
        raise forbidden(_OTHERS_PATIENT)
    return await intake.receive(form.chunks(), file_name=form.file_name, patient_code=code, mvc=mvc, claim=claim), code, mvc


async def _may_see(viewer: Viewer, received: Received, assignments: PatientAssignments) -> bool:
    return not viewer.sees_own_patients_only or received.session.patient_code in await assignments.patients_of(viewer.subject)


def _rate_limit_headers(allowance: Allowance) -> dict[str, str]:
    """As the IETF's draft of RateLimit header fields has them."""
    return {
        "RateLimit-Policy": f'"uploads";q={allowance.limit};w={allowance.window_s}',
        "RateLimit": f'"uploads";r={allowance.remaining};t={allowance.reset_s}',
    }
