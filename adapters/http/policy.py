"""The bounds and choices of the HTTP surface, made from settings by the container."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adapters.http.edge_policy import EdgePolicy
from domain.errors import InvalidSettings

_SECRET_BYTES_MIN = 32
_LEEWAY_S_MAX = 120.0


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """By which keys tokens are verified, and what they must say. Without any key nobody can be told apart: see `has_keys`.

    `role_claim` is a path with dots. `leeway_s` is how far the clocks of issuer and service may differ. `remembered_s_max`: so long a
    verified token is believed without a second look at its signature, and so long a withdrawn key still works.
    """

    secret: str | None = field(default=None, repr=False)
    jwks_url: str | None = None
    jwks_file: Path | None = None
    audience: str | None = None
    issuer: str | None = None
    role_claim: str = "role"
    leeway_s: float = 10.0
    remembered_s_max: float = 300.0
    remembered_tokens_max: int = 10_000
    token_bytes_max: int = 8_192
    jwks_timeout_s: float = 5.0
    jwks_pause_s: float = 30.0
    jwks_life_s: float = 3600.0

    def __post_init__(self) -> None:
        if self.secret is not None and len(self.secret.encode()) < _SECRET_BYTES_MIN:
            raise InvalidSettings(f"JWT_SECRET: must have {_SECRET_BYTES_MIN} bytes at least; make one with: openssl rand -hex 32")
        if self.jwks_url is not None and self.jwks_file is not None:
            raise InvalidSettings("JWT_JWKS_URL and JWT_JWKS_FILE: set one of them, not both")
        if self.jwks_url is not None and not self.jwks_url.startswith(("https://", "http://")):
            raise InvalidSettings("JWT_JWKS_URL: must be an https:// or http:// address")
        if not 0 <= self.leeway_s <= _LEEWAY_S_MAX:
            raise InvalidSettings(f"JWT_LEEWAY_S: must be from 0 to {_LEEWAY_S_MAX:g} seconds")

    @property
    def has_keys(self) -> bool:
        """Whether tokens can be verified. If not, the service answers this machine alone, and takes everybody for an admin."""
        return self.secret is not None or self.jwks_url is not None or self.jwks_file is not None


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """All bounds of the surface. `*_bytes_max` of representations is what this process keeps of recoded documents."""

    access: AccessPolicy = field(default_factory=AccessPolicy)
    edge: EdgePolicy = field(default_factory=EdgePolicy)
    event_streams_max: int = 100
    event_stream_s_max: float = 300.0
    event_pause_s: float = 0.5
    event_beat_s: float = 15.0
    representations_bytes_max: int = 64_000_000
    representations_s_max: float = 600.0
