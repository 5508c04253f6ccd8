"""Cursors of lists: opaque to clients, the key of the last session of a page to us."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from uuid import UUID

from adapters.http.problems import INVALID_CURSOR, Problem
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
    try:
        packed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        if len(packed) != _CURSOR_BYTES:
            raise Problem(INVALID_CURSOR)
        moment = _EPOCH + int.from_bytes(packed[:_MOMENT_BYTES], "big", signed=True) * _MICROSECOND
    except (binascii.Error, UnicodeEncodeError, OverflowError):
        raise Problem(INVALID_CURSOR) from None
    return PageKey(moment, SessionId(UUID(bytes=packed[_MOMENT_BYTES:])))
