"""`POST /webhooks/storage/c3d-upload`: the storage tells that a recording has arrived. Answered after one transaction."""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field

from adapters.http.edge_policy import WebhookPolicy
from adapters.http.needs import HttpNeeds, needed
from adapters.http.observation import HttpMeter
from adapters.http.problems import Kind, Problem
from adapters.http.schemas import LOCATION, PERHAPS_LOCATION, problems
from adapters.http.signature import is_signed
from adapters.http.storage_events import Ignored, MalformedEvent, judge, parse_event, patient_of
from domain.ports import Traces
from services.recording_intake import RecordingIntake

PATH: Final = "/webhooks/storage/c3d-upload"

NOT_SET_UP: Final = Kind("webhook-not-set-up", 503, "The webhook is not set up")
BAD_SIGNATURE: Final = Kind("bad-signature", 401, "The signature is missing or wrong")
MALFORMED_EVENT: Final = Kind("malformed-event", 422, "The body is no storage event")
NOT_JSON: Final = Kind("wrong-content-type", 415, "The body has the wrong content type")

_ID: Final = "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"

router = APIRouter(tags=["webhooks"])


class EventTaken(BaseModel):
    """What became of a storage event."""

    status: Literal["received", "known", "remeasured", "ignored"] = Field(
        description="received: a new session; known: it was told before, and nothing was done; remeasured: it was told before, and is "
        "analysed anew with other MVC values; ignored: `reason` says why."
    )
    session_id: UUID | None = Field(default=None, description="The session; null if ignored.")
    session_url: str | None = Field(default=None, description="Where its state is told.", examples=[f"/api/v1/sessions/{_ID}"])
    reason: str | None = Field(default=None, examples=["the object's name does not match WEBHOOK_NAME_PATTERN"])


@router.post(
    PATH,
    status_code=202,
    summary="A recording has arrived in the storage",
    response_model_exclude_none=True,
    responses={
        200: {"model": EventTaken, "description": "Known already, or ignored.", "headers": PERHAPS_LOCATION},
        202: {"headers": LOCATION},
        **problems(401, 415, 422, 503),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def storage_event(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    response: Response,
    intake: Annotated[RecordingIntake, needed(HttpNeeds.recording_intake)],
    meter: Annotated[HttpMeter, needed(HttpNeeds.meter)],
    traces: Annotated[Traces, needed(HttpNeeds.traces)],
    x_supabase_signature: Annotated[
        str | None, Header(description="HMAC-SHA256 of the body with WEBHOOK_SECRET, as hex digits, with or without `sha256=`.")
    ] = None,
) -> EventTaken:
    """Takes an event as Supabase's database webhooks send it for `storage.objects`.

    An event told again is the same session, and answered as known. Maximum voluntary contractions may stand in the object's
    `user_metadata.mvc`, such as `CH1=0.0003,CH2=0.00041`. The signature is verified before the body is looked into.
    """
    policy: WebhookPolicy = request.app.state.policy.edge.webhook
    body = await request.body()
    _verify(body, request, x_supabase_signature, policy)
    try:
        judged = judge(parse_event(body), policy.recordings)
    except MalformedEvent as error:
        raise Problem(MALFORMED_EVENT, str(error)) from None
    if isinstance(judged, Ignored):
        meter.storage_event("ignored")
        response.status_code = 200
        return EventTaken(status="ignored", reason=judged.reason)
    with traces.span("storage event"):
        received = await intake.announce(
            bucket=judged.bucket,
            name=judged.name,
            revision=judged.revision,
            size_bytes=judged.size_bytes,
            patient_code=patient_of(judged.name, policy.patient_pattern),
            mvc=judged.mvc,
        )
    status: Literal["received", "known", "remeasured"] = "received" if received.new else "remeasured" if received.remeasured else "known"
    meter.storage_event(status)
    url = f"/api/v1/sessions/{received.session.session_id}"
    response.headers["Location"] = url
    if status == "known":
        response.status_code = 200
    return EventTaken(status=status, session_id=received.session.session_id, session_url=url)


def _verify(body: bytes, request: Request, signature: str | None, policy: WebhookPolicy) -> None:
    """Raises the problem of a body that was not sent by whom we trust, or is of a kind that we do not read."""
    if policy.secrets:
        if len(request.headers.getlist("x-supabase-signature")) > 1 or not is_signed(body, signature, policy.secrets):
            raise Problem(BAD_SIGNATURE, "the header x-supabase-signature must be the HMAC-SHA256 of the body with WEBHOOK_SECRET, in hex")
    elif not policy.unsigned_allowed:
        raise Problem(NOT_SET_UP, "no secret is set; set WEBHOOK_SECRET, or for local use WEBHOOK_UNSIGNED_ALLOWED=true")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(NOT_JSON, "send the event as application/json")
