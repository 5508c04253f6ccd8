"""Sessions as rows of the table `therapy_session`, and back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from domain.errors import InvalidMvc, StoredDataInvalid
from domain.mvc import GivenMvc
from domain.session import SessionId, SessionState, TherapySession


def to_row(session: TherapySession) -> dict[str, Any]:
    """A session as its row."""
    return {
        "session_id": session.session_id,
        "recording_sha256": session.recording_sha256,
        "file_name": session.file_name,
        "size_bytes": session.size_bytes,
        "recorded_at": session.recorded_at,
        "registered_at": session.registered_at,
        "patient_code": session.patient_code,
        "recording_key": session.recording_key,
        "mvc": mvc_to_json(session.mvc),
        "state": session.state.value,
        "progress": session.progress,
        "failure": session.failure,
        "same_as": session.same_as,
    }


def from_row(row: sa.Row[Any]) -> TherapySession:
    """A row as its session."""
    return TherapySession(
        session_id=SessionId(row.session_id),
        recording_sha256=row.recording_sha256,
        file_name=row.file_name,
        size_bytes=row.size_bytes,
        recorded_at=row.recorded_at,
        registered_at=row.registered_at,
        patient_code=row.patient_code,
        recording_key=row.recording_key,
        mvc=_mvc_of(row),
        state=SessionState(row.state),
        progress=row.progress,
        failure=row.failure,
        same_as=None if row.same_as is None else SessionId(row.same_as),
    )


def mvc_to_json(mvc: GivenMvc | None) -> dict[str, Any] | None:
    """MVC values as the column has them."""
    return None if mvc is None else {"every_channel": mvc.every_channel, "by_channel": dict(mvc.by_channel)}


def _mvc_of(row: sa.Row[Any]) -> GivenMvc | None:
    if row.mvc is None:
        return None
    try:
        every_channel = row.mvc.get("every_channel")
        # PostgreSQL writes large numbers without a point, and JSON reads those as integers.
        by_channel = tuple((name, float(value)) for name, value in (row.mvc.get("by_channel") or {}).items())
        return GivenMvc(None if every_channel is None else float(every_channel), by_channel)
    except (InvalidMvc, AttributeError, TypeError, ValueError, OverflowError):
        # Written by others than this program. The values are of a patient, and not repeated.
        raise StoredDataInvalid(
            f"session {row.session_id}: the column mvc of therapy_session holds no MVC values; set it to NULL"
        ) from None
