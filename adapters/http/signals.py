"""Signals of a session, reduced to what a screen can show, for pages that draw them."""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

import asyncio
import re
from typing import Annotated, Any, Final, Literal

from cachetools import TTLCache
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from adapters.http.access import VisibleSession
from adapters.http.codings import choose, qualities, recode
from adapters.http.needs import HttpNeeds, needed
from adapters.http.problems import NOT_ANALYSED, Kind, Problem
from adapters.http.representations import not_acceptable
from adapters.http.schemas import LOCATION, problems
from adapters.http.signal_forms import MEDIA_TYPES, Encoded, Form, encoded, form_wanted
from domain.ports import Coding
from domain.session import SessionId, SessionState
from domain.signals import POINTS_ANSWER_MAX, POINTS_DEFAULT, POINTS_MIN, SignalKind, SignalPlan, SignalRequest
from services.session_signals import SessionSignals

router = APIRouter(prefix="/api/v1/sessions", tags=["signals"])

ALL_CHANNELS: Final = "all"
MEDIA_TYPE_NOT_ACCEPTABLE: Final = Kind("media-type-not-acceptable", 406, "There is no media type that the client accepts")

_VARY: Final = "Accept, Accept-Encoding, Authorization"
_OF_ETAGS: Final = re.compile(r'(?:W/)?"([0-9a-f]{32})\.(json|arrow|float32)\.(zstd|gzip|identity)"')
_FORMS_BYTES_MAX: Final = 32_000_000
_FORMS_S_MAX: Final = 600.0
_FORM_OVERHEAD_BYTES: Final = 500

Service = Annotated[SessionSignals, needed(HttpNeeds.session_signals)]


class SignalDocument(BaseModel):
    """One signal of one channel, reduced: the points (`samples[i]`, `values[i]`)."""

    channel: str = Field(examples=["CH1"])
    kind: Literal["raw", "activated", "envelope"]
    missing: str | None = Field(description="Why there are no points; null if there are.", examples=[None])
    samples: list[int] = Field(description="Numbers of samples, counted from the recording's begin.", examples=[[9900, 9912, 9925]])
    values: list[float | None] = Field(
        description="Of seven digits, in `amplitude_unit`; null where the recording has no number.", examples=[[-1.5e-05, 0.0003, 0.00012]]
    )


class SignalsDocument(BaseModel):
    """A window of a recording's signals."""

    recording_sha256: str
    sampling_rate_hz: float = Field(examples=[990.0])
    amplitude_unit: str | None = Field(description="Null if the recording declares none.", examples=["V"])
    first_sample: int = Field(description="The window's first sample.", examples=[9900])
    end_sample: int = Field(description="The sample after its last.", examples=[19800])
    signals: list[SignalDocument] = Field(description="By channel, and within a channel raw, activated, envelope.")


class SignalForms:
    """What this process has encoded lately. A form belongs to a plan's key, so it never becomes wrong; whom it may be shown to is decided
    before it is looked for."""

    def __init__(self) -> None:
        self._made: TTLCache[tuple[SessionId, str, Form, Coding], Encoded] = TTLCache(
            _FORMS_BYTES_MAX, _FORMS_S_MAX, getsizeof=lambda form: len(form.body) + _FORM_OVERHEAD_BYTES
        )

    def find(self, session_id: SessionId, key: str, form: Form, coding: Coding) -> Encoded | None:
        """The form, if it was made lately."""
        return self._made.get((session_id, key, form, coding))

    def keep(self, session_id: SessionId, key: str, form: Form, coding: Coding, made: Encoded) -> None:
        """Keeps a form for a while."""
        self._made[session_id, key, form, coding] = made

    def forget(self, session_id: SessionId) -> None:
        """The session is being erased: nothing of it stays here."""
        for place in [place for place in self._made if place[0] == session_id]:
            self._made.pop(place, None)


_HEADERS: Final = {
    "ETag": {
        "description": "Recording, request, media type and coding. Strong.",
        "schema": {"type": "string"},
        "example": '"0d2f3a8c5b7e4f61928374655aab0c1d.json.zstd"',
    },
    "Cache-Status": {
        "description": "RFC 9211. `hit`: the preview was remembered; `fwd=miss`: it was made from the recording.",
        "schema": {"type": "string"},
        "example": "emg-sessions; hit; detail=remembered",
    },
    "Emg-Signals": {
        "description": "With application/octet-stream: window and signals as in the JSON answer, with the number of points of each.",
        "schema": {"type": "string"},
    },
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The signals. As Arrow: a table of `signal`, `sample`, `time_s` and `value`, whose schema's metadata have `window` "
        "and `signals`. As octets: little-endian float32; of each signal in turn the places of its points, counted in samples from "
        "`first_sample`, then their values.",
        "model": SignalsDocument,
        "headers": _HEADERS,
        "content": {
            MEDIA_TYPES["arrow"]: {"schema": {"type": "string", "format": "binary"}},
            MEDIA_TYPES["float32"]: {"schema": {"type": "string", "format": "binary"}},
        },
    },
    304: {"description": "The client has it.", "headers": _HEADERS},
    308: {"description": "The session's recording is that of another session; `Location` names its signals.", "headers": LOCATION},
    **problems(400, 401, 403, 404, 406, 422, 500, 503),
}


@router.get("/{session_id}/signals/{channel:path}", summary="Draw signals", response_class=Response, responses=_ANSWERS)
async def draw_signals(
    *,
    request: Request,
    session: VisibleSession,
    service: Service,
    channel: Annotated[
        str, Path(max_length=300, description=f"A channel by its name, or `{ALL_CHANNELS}`.", examples=["CH1", ALL_CHANNELS])
    ],
    kind: Annotated[
        list[Literal["raw", "activated", "envelope"]] | None,
        Query(
            max_length=10,
            description="May be repeated. raw: as recorded (the default); activated: the recorder's own activity signal; envelope: as the "
            "analysis computed it.",
            examples=[["raw", "envelope"]],
        ),
    ] = None,
    start_s: Annotated[float, Query(ge=0, description="From this second of the recording on.", examples=[10.0])] = 0.0,
    end_s: Annotated[float | None, Query(gt=0, description="Before this second; to the end if not given.", examples=[20.0])] = None,
    points: Annotated[
        int | None,
        Query(
            ge=POINTS_MIN,
            le=POINTS_ANSWER_MAX,
            description=f"Of each signal at most; {POINTS_DEFAULT} if not given. All signals together have {POINTS_ANSWER_MAX} at most.",
            examples=[1000],
        ),
    ] = None,
    accept: Annotated[str | None, Header(description=f"One of {', '.join(MEDIA_TYPES.values())}.", examples=["application/json"])] = None,
    if_none_match: Annotated[str | None, Header(description="Entity tags of what the client has.")] = None,
) -> Response:
    """One or all channels of a recording, each reduced to `points`: of every stretch the least and the greatest value, so that no peak is
    missed. Values are in `amplitude_unit`; sample n was taken n / `sampling_rate_hz` seconds after the recording's begin.

    A signal that does not exist has no points, and `missing` says why.
    """
    if session.state is SessionState.DUPLICATE and session.same_as is not None:
        return RedirectResponse(_moved(request, str(session.same_as)), 308, headers={"Cache-Control": "no-store"})
    form = form_wanted(accept)
    if form is None:
        raise Problem(MEDIA_TYPE_NOT_ACCEPTABLE, f"accept one of {', '.join(MEDIA_TYPES.values())}", headers={"Vary": _VARY})
    wanted = SignalRequest(
        channel=None if channel == ALL_CHANNELS else channel,
        kinds=tuple(SignalKind(name) for name in kind or ["raw"]),
        start_s=start_s,
        end_s=end_s,
        points=points,
    )
    plan = await service.plan(session, wanted)
    if plan is None:
        raise Problem(NOT_ANALYSED, f"its state is {session.state.value!r}")
    accept_encoding = b", ".join(value for name, value in request.scope["headers"] if name == b"accept-encoding") or None
    held = _held(if_none_match, plan, form, accept_encoding)
    if held is not None:
        return Response(status_code=304, headers=_headers(plan, form, held, "held"))
    forms: SignalForms = request.app.state.signal_forms
    made, source = forms.find(session.session_id, plan.key, form, "identity"), "near"
    if made is None:
        answer = await service.answer(session, plan)
        source = answer.source
        made = await asyncio.to_thread(encoded, plan, answer.preview, form)
        forms.keep(session.session_id, plan.key, form, "identity", made)
    coding = choose(accept_encoding, "identity", len(made.body))
    if coding is None:
        raise not_acceptable()
    body = made.body
    if coding != "identity":
        recoded = forms.find(session.session_id, plan.key, form, coding)
        if recoded is None:
            recoded = Encoded(await recode(body, "identity", coding), made.headers)
            forms.keep(session.session_id, plan.key, form, coding, recoded)
        body = recoded.body
    headers = {**_headers(plan, form, coding, source), **made.headers}
    if coding != "identity":
        headers["Content-Encoding"] = coding
    return Response(body, headers=headers, media_type=MEDIA_TYPES[form])


def _held(if_none_match: str | None, plan: SignalPlan, form: Form, accept_encoding: bytes | None) -> Coding | None:
    """The coding in which the client has this answer already, and may have it."""
    acceptable = qualities(accept_encoding)
    for key, of_form, coding in _OF_ETAGS.findall(if_none_match or ""):
        if plan.key.startswith(key) and of_form == form and acceptable[coding] > 0:
            found: Coding = coding
            return found
    return None


def _headers(plan: SignalPlan, form: Form, coding: Coding, source: str) -> dict[str, str]:
    return {
        "ETag": f'"{plan.key[:32]}.{form}.{coding}"',
        # Not "immutable": an analysis with other parameters changes what this address answers, and an erasure ends it.
        "Cache-Control": "private, no-cache",
        "Vary": _VARY,
        "Cache-Status": f"emg-sessions; {'fwd=miss' if source in ('made', 'joined') else 'hit'}; detail={source}",
    }


def _moved(request: Request, to: str) -> str:
    path = request.scope["path"]
    rest = request.scope.get("raw_path", path.encode()).decode("latin-1").split("/signals/", 1)[1]
    query = request.scope["query_string"].decode("latin-1")
    return f"/api/v1/sessions/{to}/signals/{rest.partition('?')[0]}" + (f"?{query}" if query else "")
