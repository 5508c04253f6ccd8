"""A therapy session and its identity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NewType
from uuid import UUID, uuid5

from domain.errors import InvalidSessionId

SessionId = NewType("SessionId", UUID)

# Never change it: the ids of all stored sessions derive from it.
_SESSION_NAMESPACE: Final = UUID("3f0e2f3c-6c53-4b0e-9d3c-0f5b6c1d7e42")
_CANONICAL_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def session_id_of(recording_sha256: str) -> SessionId:
    """The id of the session that a recording with this digest (64 hex digits) belongs to.

    Derived from the bytes, so that the same recording is the same session wherever and how often it is processed.
    """
    if len(recording_sha256) != 64:
        raise ValueError(f"a SHA-256 digest has 64 hex digits, not {len(recording_sha256)}")
    return SessionId(uuid5(_SESSION_NAMESPACE, recording_sha256.lower()))


def parse_session_id(text: str) -> SessionId:
    """The session id that a person or a program wrote as text.

    Raises InvalidSessionId for anything but the canonical form with hyphens, in either case of letters.
    """
    stripped = text.strip()
    if not _CANONICAL_UUID.fullmatch(stripped):
        raise InvalidSessionId(text)
    return SessionId(UUID(stripped))


@dataclass(frozen=True, slots=True)
class TherapySession:
    """One recorded session, as the registry knows it.

    `recorded_at` is local time at the place of recording: recordings name no time zone. `registered_at` is UTC.
    """

    session_id: SessionId
    file_name: str
    recording_sha256: str
    size_bytes: int
    recorded_at: datetime | None
    registered_at: datetime
