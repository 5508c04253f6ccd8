"""Who asks, and which session they may have: what routes take as parameters.

@router.get("/{session_id}")
async def read(session: VisibleSession, viewer: Viewing) -> …
"""

# No `from __future__ import annotations` here or in any file of routes: FastAPI has to see the annotations, not their text.

import ipaddress
from functools import lru_cache
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, Path, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.http.fields import Fields, fields_of
from adapters.http.needs import HttpNeeds, needed
from adapters.http.problems import FORBIDDEN, LOOPBACK_ONLY, SESSION_NOT_FOUND, Problem
from adapters.http.tokens import Tokens, unauthenticated
from domain.access import Role, Viewer
from domain.session import TherapySession, parse_session_id
from services.session_access import SessionAccess

_EVERYBODY_HERE: Final = Viewer("local", Role.ADMIN)
BEARER: Final = Security(
    HTTPBearer(
        auto_error=False,
        scheme_name="bearer",
        bearerFormat="JWT",
        description="A JSON Web Token with `sub`, `exp` and a role: therapist, researcher or admin. Without keys the service answers its "
        "own machine alone, and needs no token.",
    )
)


class Authentication:
    """Tells who asks, by the Authorization header; without keys everybody is taken for an admin (and LoopbackOnly stands before us)."""

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens

    async def viewer(self, authorization: str | None) -> Viewer:
        """Who asks. Raises a Problem with status 401."""
        if self._tokens is None:
            return _EVERYBODY_HERE
        if authorization is None:
            raise unauthenticated("send a token in the header: Authorization: Bearer …", token_given=False)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthenticated("the Authorization header has another form than: Bearer …", token_given=False)
        return await self._tokens.viewer(token.strip())


async def _viewer(connection: HTTPConnection, _: Annotated[Any, BEARER]) -> Viewer:
    authentication: Authentication = connection.app.state.authentication
    return await authentication.viewer(connection.headers.get("authorization"))


Viewing = Annotated[Viewer, Depends(_viewer)]
"""Who asks; without a good token the request ends with 401."""

Access = Annotated[SessionAccess, needed(HttpNeeds.session_access)]

SessionIdText = Annotated[
    str,
    Path(
        description="The session's id, as listed or as answered to an upload.",
        json_schema_extra={"format": "uuid"},
        examples=["6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"],
    ),
]


async def _visible_session(session_id: SessionIdText, viewer: Viewing, access: Access) -> TherapySession:
    session = await access.find(viewer, parse_session_id(session_id))
    if session is None:
        raise Problem(SESSION_NOT_FOUND)
    return session


VisibleSession = Annotated[TherapySession, Depends(_visible_session)]
"""The session in the path; one that does not exist or may not be seen is the same 404."""


def forbidden(what: str) -> Problem:
    """The problem of a role that may not do something (which is no secret)."""
    return Problem(FORBIDDEN, what, headers={"WWW-Authenticate": 'Bearer realm="emg-sessions", error="insufficient_scope"'})


class LoopbackOnly:
    """Stands before everything else when there are no keys: only this machine is answered, and only under its own name.

    The Host and Origin headers are looked at, too: otherwise any page that is open in a browser on this machine could ask in its name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and (reason := comes_from_elsewhere(scope, fields_of(scope["headers"]))) is not None:
            problem = Problem(LOOPBACK_ONLY, f"{reason}; set JWT_SECRET, JWT_JWKS_URL or JWT_JWKS_FILE to answer others")
            await problem.response()(scope, receive, send)
            return
        await self.app(scope, receive, send)


@lru_cache(maxsize=1000)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def comes_from_elsewhere(scope: Scope, fields: Fields) -> str | None:
    """Why a request does not come from this machine, or None if it does."""
    client = scope.get("client")
    if client is not None and not is_loopback(client[0]):
        return "the request comes from another machine"
    host, origin = fields.get(b"host"), fields.get(b"origin")
    if host is not None and not _names_this_machine(b"//" + host):
        return "the Host header names another machine"
    if origin is not None and not _names_this_machine(origin):
        return "the Origin header names another machine"
    return None


@lru_cache(maxsize=1000)
def _names_this_machine(address: bytes) -> bool:
    if b"," in address or b"@" in address:  # Several values, or one that hides a name before another.
        return False
    try:
        host = urlsplit(address.decode("latin-1")).hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)
