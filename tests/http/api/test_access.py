"""Who may have what: every route by every role, for sessions of their own, of others and of nobody."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from domain.session import SessionState, TherapySession
from tests.http.api.service import ROLES, SECRET, Service, token
from tests.strategies import new_id

UNKNOWN = "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"
ROUTES = {
    "show": ("GET", "/api/v1/sessions/{session}"),
    "analytics": ("GET", "/api/v1/sessions/{session}/analytics"),
    "head": ("HEAD", "/api/v1/sessions/{session}/analytics"),
    "events": ("GET", "/api/v1/sessions/{session}/events"),
    "erase": ("DELETE", "/api/v1/sessions/{session}"),
    "trends": ("GET", "/api/v1/patients/{patient}/trends"),
}
SEEN_BY = {
    "own": {"therapist", "researcher", "admin"},
    "other's": {"researcher", "admin"},
    "nobody's": {"researcher", "admin"},
    "unknown": set[str](),
}


async def ask(client: httpx.AsyncClient, route: str, session: str, patient: str) -> httpx.Response:
    method, path = ROUTES[route]
    return await client.request(method, path.format(session=session, patient=patient))


CASES = [
    (route, role, whose) for route in sorted(ROUTES) for role in ROLES for whose in SEEN_BY if (route, whose) != ("trends", "nobody's")
]


@pytest.mark.parametrize("case", CASES, ids=" ".join)
async def test_who_sees_what(service: Service, therapist: str, patient: str, case: tuple[str, str, str]) -> None:
    route, role, whose = case
    await service.assignments.assign(patient, therapist)
    await service.assignments.assign(f"{patient}x", f"{therapist}x")
    code = {"own": patient, "other's": f"{patient}x", "nobody's": None, "unknown": f"{patient}y"}[whose]
    session_id = new_id() if whose == "unknown" else (await service.session(patient=code)).session_id
    async with service.asked_by(therapist, role) as client:
        answer = await ask(client, route, str(session_id), code or "")
    if role not in SEEN_BY[whose]:
        assert answer.status_code == 404
    elif route == "erase":
        assert answer.status_code == (403 if role == "researcher" else 204)
        assert (await service.registry.find(session_id) is None) == (role != "researcher")
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize("route", sorted(ROUTES))
async def test_what_may_not_be_seen_is_answered_like_what_does_not_exist(
    service: Service, therapist: str, patient: str, route: str
) -> None:
    await service.assignments.assign(patient, f"{therapist}x")
    there = await service.session(patient=patient)
    async with service.asked_by(therapist, "therapist") as client:
        forbidden = await ask(client, route, str(there.session_id), patient)
        unknown = await ask(client, route, str(new_id()), f"{patient}x")
    assert (forbidden.status_code, forbidden.content) == (unknown.status_code, unknown.content) == (404, unknown.content)
    ignored = ("x-request-id", "date")
    assert [(name, value) for name, value in forbidden.headers.items() if name not in ignored] == [
        (name, value) for name, value in unknown.headers.items() if name not in ignored
    ]


async def test_a_list_shows_a_therapist_their_own_patients_alone(service: Service, therapist: str, patient: str) -> None:
    await service.assignments.assign(patient, therapist)
    own = await service.session(patient=patient)
    await service.session(patient=f"{patient}x")
    await service.session(patient=None)
    async with service.asked_by(therapist, "therapist") as client:
        listed = (await client.get("/api/v1/sessions")).json()["sessions"]
        of_another = (await client.get("/api/v1/sessions", params={"patient_code": f"{patient}x"})).json()["sessions"]
    assert [each["id"] for each in listed] == [str(own.session_id)]
    assert of_another == []


async def test_a_therapist_without_patients_sees_an_empty_list(service: Service, therapist: str) -> None:
    await service.session(patient=None)
    async with service.asked_by(therapist, "therapist") as client:
        assert (await client.get("/api/v1/sessions")).json() == {"sessions": [], "next_cursor": None}


async def test_patients_are_listed_to_their_therapist_and_to_whoever_sees_all(service: Service, therapist: str, patient: str) -> None:
    await service.assignments.assign(patient, therapist)
    for code in (patient, patient, f"{patient}x", None):
        session = await service.session(patient=code)
    subject = (await service.analytics(session)).recording.subject
    async with service.asked_by(therapist, "therapist") as client:
        own = (await client.get("/api/v1/patients")).json()
    assert [(each["patient_code"], each["sessions"]) for each in own["patients"]] == [(patient, 2)]
    assert own["next_cursor"] is None
    for role in ("researcher", "admin"):
        async with service.asked_by(role=role) as client:
            answer = await client.get("/api/v1/patients", params={"limit": 200})
        assert {patient, f"{patient}x"} <= {each["patient_code"] for each in answer.json()["patients"]}
        assert all(value not in answer.text for value in subject.values() if isinstance(value, str))
    async with service.asked_by(f"{therapist}x", "therapist") as client:
        assert (await client.get("/api/v1/patients")).json() == {"patients": [], "next_cursor": None}
    async with service.client() as client:
        assert (await client.get("/api/v1/patients")).status_code == 401


@pytest.mark.parametrize("role", ROLES)
async def test_everybody_is_told_what_they_may_do_and_may_do_that_alone(service: Service, therapist: str, patient: str, role: str) -> None:
    await service.assignments.assign(patient, therapist)
    session = await service.session(patient=patient)
    async with service.asked_by(therapist, role) as client:
        told = await client.get("/api/v1/viewer")
        uploaded = await client.post("/api/v1/recordings", content=b"no form")
        erased = await client.delete(f"/api/v1/sessions/{session.session_id}")
    assert told.json() == {"role": role, "may_upload": uploaded.status_code != 403, "may_erase": erased.status_code != 403}
    assert told.headers["cache-control"] == "no-store", "the next token may be another's"
    async with service.client() as client:
        assert (await client.get("/api/v1/viewer")).status_code == 401


async def test_a_batch_says_of_others_sessions_what_it_says_of_unknown_ones(service: Service, therapist: str, patient: str) -> None:
    await service.assignments.assign(patient, therapist)
    own, others, unknown = await service.session(patient=patient), await service.session(patient=f"{patient}x"), new_id()
    asked = [str(unknown), str(others.session_id), str(own.session_id)]
    async with service.asked_by(therapist, "therapist") as client:
        answer = (await client.post("/api/v1/analytics/batch", json={"session_ids": asked})).json()
    assert [each["session_id"] for each in answer["analytics"]] == [str(own.session_id)]
    assert answer["missing"] == asked[:2]


async def facts_shown(client: httpx.AsyncClient, session: TherapySession) -> dict[str, Any]:
    path = f"/api/v1/sessions/{session.session_id}"
    batch = (await client.post("/api/v1/analytics/batch", json={"session_ids": [str(session.session_id)]})).json()
    return {
        "document": (await client.get(f"{path}/analytics")).json()["recording"]["subject"],
        "batch": batch["analytics"][0]["document"]["recording"]["subject"],
        "detail": (await client.get(path)).json()["recording"]["subject"],
    }


async def test_researchers_see_nothing_that_a_recording_says_of_people(service: Service, patient: str) -> None:
    session = await service.session(patient=patient)
    subject = (await service.analytics(session)).recording.subject
    assert subject
    async with service.asked_by(role="admin") as client:
        assert all(shown for shown in (await facts_shown(client, session)).values())
    async with service.asked_by(role="researcher") as client:
        assert await facts_shown(client, session) == {"document": {}, "batch": {}, "detail": None}
        listed = await client.get("/api/v1/sessions", params={"patient_code": patient})
    assert [each["id"] for each in listed.json()["sessions"]] == [str(session.session_id)]
    for name, value in subject.items():
        assert name not in listed.text
        assert not isinstance(value, str) or value not in listed.text


async def test_researchers_are_not_told_what_somebody_called_the_file(service: Service, patient: str) -> None:
    name = "Mustermann_Erika_1970.c3d"
    analysed = await service.session(patient=patient, file_name=name)
    failed = await service.session(patient=patient, analysed=False, file_name=name)
    await service.registry.note(failed.session_id, SessionState.FAILED, failure=f"{name}: the file is truncated")
    for role, told in {"admin": True, "researcher": False}.items():
        async with service.asked_by(role=role) as client:
            page = await client.get("/api/v1/sessions", params={"patient_code": patient})
            detail = await client.get(f"/api/v1/sessions/{failed.session_id}")
            async with client.stream("GET", f"/api/v1/sessions/{failed.session_id}/events") as events:
                followed = (await events.aread()).decode()
            document = (await client.get(f"/api/v1/sessions/{analysed.session_id}/analytics")).json()
        assert ["Mustermann" in text for text in (page.text, detail.text, followed)] == [told] * 3
        if not told:
            assert detail.json()["failure"] == f"{failed.session_id}.c3d: the file is truncated"
            assert document["recording"]["file_name"] == f"{analysed.session_id}.c3d"


async def test_an_admin_gives_a_patient_to_a_therapist(service: Service, therapist: str, patient: str) -> None:
    session = await service.session(patient=patient)
    path = f"/api/v1/patients/{patient}/therapist"
    async with service.asked_by(therapist, "therapist") as client:
        assert (await client.get(f"/api/v1/sessions/{session.session_id}")).status_code == 404
        refused = await client.put(path, json={"therapist": therapist})
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
    async with service.asked_by(role="admin") as client:
        assert (await client.put(path, json={"therapist": therapist})).json() == {"therapist": therapist, "patient_code": patient}
    async with service.asked_by(therapist, "therapist") as client:
        assert (await client.get(f"/api/v1/sessions/{session.session_id}")).status_code == 200


# Tokens


def unsigned() -> str:
    parts = [{"alg": "none", "typ": "JWT"}, {"sub": "somebody", "role": "admin", "exp": time.time() + 600}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def signed_with_a_key_pair() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode({"sub": "somebody", "role": "admin", "exp": time.time() + 600}, key, "RS256")


def tampered() -> str:
    head, _, signature = token(role="researcher").split(".")
    payload = token(role="admin").split(".")[1]
    return f"{head}.{payload}.{signature}"


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "alg none": unsigned,
    "another secret": lambda: token(secret="another secret that has thirty-two bytes and more"),
    "another algorithm": lambda: token(algorithm="HS512", secret=SECRET * 2),
    "another kind of key": signed_with_a_key_pair,
    "tampered": tampered,
    "expired": lambda: token(exp=time.time() - 3600),
    "expired beyond the leeway": lambda: token(exp=time.time() - 12),
    "not yet valid": lambda: token(nbf=time.time() + 3600),
    "never expires": lambda: token(exp=None),
    "expires at no number": lambda: token(exp="tomorrow"),
    "nobody": lambda: token(sub=None),
    "an empty subject": lambda: token(sub=""),
    "no role": lambda: token(role=None),
    "an unknown role": lambda: token(role="root"),
    "a role the user gave themselves": lambda: token(role=None, user_metadata={"role": "admin"}),
    "a list of roles": lambda: token(role=None, app_metadata={"role": ["admin"]}),
    "not a token": lambda: "abc",
    "two parts": lambda: "abc.def",
    "garbage": lambda: "\u00e9.\u00e9.\u00e9",
    "very long": lambda: token(filler="x" * 10_000),
}


@pytest.mark.parametrize("bad", BAD_TOKENS)
@pytest.mark.parametrize("path", ["/api/v1/sessions", f"/api/v1/sessions/{UNKNOWN}/analytics"])
async def test_a_token_that_is_not_good_is_401(service: Service, path: str, bad: str) -> None:
    async with service.client() as client:
        answer = await client.get(path, headers={b"Authorization": b"Bearer " + BAD_TOKENS[bad]().encode("latin-1")})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.json()["detail"]


@pytest.mark.parametrize("authorization", [None, "", "Basic c29tZTpib2R5", "Bearer", "Bearer ", token()])
@pytest.mark.parametrize("path", ["/api/v1/sessions", f"/api/v1/sessions/{UNKNOWN}/analytics"])
async def test_no_token_is_401_and_a_challenge(service: Service, path: str, authorization: str | None) -> None:
    async with service.client(**{} if authorization is None else {"Authorization": authorization}) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.headers["www-authenticate"].startswith("Bearer realm=")


async def test_a_role_is_found_where_supabase_puts_it(service: Service) -> None:
    supabase = token(role="authenticated", aud="authenticated", app_metadata={"provider": "email", "role": "admin"})
    async with service.client(Authorization=f"Bearer {supabase}") as client:
        assert (await client.get("/api/v1/sessions")).status_code == 200


# Without keys


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "127.0.0.1.evil"}]
)
async def test_without_keys_a_page_from_elsewhere_gets_nothing(open_service: Service, headers: dict[str, str]) -> None:
    async with open_service.client(**headers) as client:
        for path in ("/api/v1/sessions", f"/api/v1/sessions/{new_id()}/analytics", "/openapi.json"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:problem-type:emg-sessions:loopback-only")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000"])
async def test_without_keys_this_machine_is_answered(open_service: Service, host: str) -> None:
    async with open_service.client(Host=host, Origin=f"http://{host}") as client:
        assert (await client.get("/api/v1/sessions")).status_code == 200


async def test_without_keys_another_machine_gets_nothing(open_service: Service) -> None:
    transport = httpx.ASGITransport(open_service.app, client=("192.0.2.7", 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get("/api/v1/sessions")).status_code == 403
