"""`emg-sessions token`: a bearer token for local use."""

from __future__ import annotations

import sys
import time

import jwt

from adapters.entrypoints.console import ExitCode
from adapters.settings import Settings
from container import Container, http_policy
from domain.access import Role
from domain.errors import InvalidSettings


async def command(_: Container, settings: Settings, *, subject: str, role: Role, hours: float) -> ExitCode:
    """The whole command."""
    policy = http_policy(settings).access
    if policy.secret is None:
        raise InvalidSettings("JWT_SECRET is not set; make one with: export JWT_SECRET=$(openssl rand -hex 32)")
    claims = {"sub": subject, "exp": time.time() + hours * 3600, "aud": policy.audience, "iss": policy.issuer}
    claims |= {"app_metadata": {"role": role.value}}
    sys.stdout.write(jwt.encode({name: value for name, value in claims.items() if value is not None}, policy.secret, "HS256") + "\n")
    return ExitCode.OK
