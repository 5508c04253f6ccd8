"""A therapy session and its identity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, NewType
from uuid import UUID, uuid5

from domain.errors import InvalidSessionId
from domain.mvc import GivenMvc

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


def session_id_of_object(bucket: str, name: str, revision: str) -> SessionId:
    """The id of the session of a recording whose bytes are not known yet: an object in a storage bucket.

    `revision` tells the contents of one name apart (an object id, an ETag). The same object is the same session, however often its arrival
    is told.
    """
    return SessionId(uuid5(_SESSION_NAMESPACE, "\0".join(("object", bucket, name, revision))))


def parse_session_id(text: str) -> SessionId:
    """The session id that a person or a program wrote as text.

    Raises InvalidSessionId for anything but the canonical form with hyphens, in either case of letters.
    """
    stripped = text.strip()
    if not _CANONICAL_UUID.fullmatch(stripped):
        raise InvalidSessionId(text)
    return SessionId(UUID(stripped))


class SessionState(Enum):
    """What has become of a session's recording.

    received: it waits for a worker; processing: one is at work; completed: its analytics are stored; failed: it cannot be analysed, and
    `TherapySession.failure` says why; duplicate: its bytes are those of the session `TherapySession.same_as`.
    """

    RECEIVED = "received"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    DUPLICATE = "duplicate"


def stays_settled(now: SessionState, noted: SessionState) -> bool:
    """Whether a session keeps its state although another is noted.

    What is completed or a duplicate does not go back to processing or failed: only a worker that was frozen, and has been replaced, says
    so. It can be received again, and is when other MVC values are given.
    """
    settled = now in (SessionState.COMPLETED, SessionState.DUPLICATE)
    return settled and noted in (SessionState.PROCESSING, SessionState.FAILED)


@dataclass(frozen=True, slots=True)
class TherapySession:
    """One recorded session, as the registry knows it.

    `recording_sha256` and `size_bytes` are None until the recording has been read once. `recorded_at` is local time at the place of
    recording: recordings name no time zone. `registered_at` is UTC. `patient_code` is a pseudonym: None until one is given, and then it
    never changes. `recording_key` is the recording's name in the recording store; None if it was processed from a file and not kept. `mvc`
    holds the maximum voluntary contractions that were last given with the recording; None: none ever was. `progress` is the share of the
    processing that is done, 0 to 1.
    """

    session_id: SessionId
    file_name: str
    recording_sha256: str | None
    size_bytes: int | None
    recorded_at: datetime | None
    registered_at: datetime
    patient_code: str | None = None
    recording_key: str | None = None
    mvc: GivenMvc | None = None
    state: SessionState = SessionState.RECEIVED
    progress: float = 0.0
    failure: str | None = None
    same_as: SessionId | None = None
