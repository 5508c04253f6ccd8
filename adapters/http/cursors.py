"""Cursors of lists: opaque to clients, the key of the last session (or the code of the last patient) of a page to us."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from adapters.http.problems import INVALID_CURSOR, Problem
from adapters.http.schemas import CODE_PATTERN
from domain.ports import PageKey
from domain.session import SessionId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT_BYTES = 8
_CURSOR_BYTES = _MOMENT_BYTES + 16
_MICROSECOND = timedelta(microseconds=1)


def cursor_of(key: PageKey) -> str:
    """The cursor of the page after a key."""
    moment = (key.registered_at - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(moment.to_bytes(_MOMENT_BYTES, "big", signed=True) + key.session_id.bytes).decode()


def key_of(cursor: str) -> PageKey:
    """The key in a cursor. Raises a Problem with status 400 for anything that is none."""
    packed = _unpacked(cursor)
    if len(packed) != _CURSOR_BYTES:
        raise Problem(INVALID_CURSOR)
    try:
        moment = _EPOCH + int.from_bytes(packed[:_MOMENT_BYTES], "big", signed=True) * _MICROSECOND
    except OverflowError:
        raise Problem(INVALID_CURSOR) from None
    return PageKey(moment, SessionId(UUID(bytes=packed[_MOMENT_BYTES:])))


def cursor_after_patient(patient_code: str) -> str:
    """The cursor of the page of patients after this one."""
    return base64.urlsafe_b64encode(patient_code.encode()).decode()


def patient_code_of(cursor: str) -> str:
    """The patient's code in a cursor. Raises a Problem with status 400 for anything that is none."""
    try:
        code = _unpacked(cursor).decode()
    except UnicodeDecodeError:
        raise Problem(INVALID_CURSOR) from None
    if not re.match(CODE_PATTERN, code):
        raise Problem(INVALID_CURSOR)
    return code


def _unpacked(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Problem(INVALID_CURSOR) from None
