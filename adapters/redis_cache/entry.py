"""An entry as stored in Redis: 64 bytes of header, then the payload. Golden bytes in the tests hold the format still; change it and raise
FORMAT, and old entries become misses that heal themselves.

     0  4  magic "EMGA"
     4  1  format
     5  1  coding of the payload: 0 identity, 1 zstd, 2 gzip
     6  1  kind: 0 the session has no analytics, 1 it has, and the payload is their document
     7  1  schema of the document
     8 16  version, as fixed-width lower-case hex: Lua compares it as text, exactly, where its numbers would round
    24 16  session id
    40  8  epoch
    48  8  filled at, ms since 1970 by the filler's clock: for telling the age, never for deciding
    56  4  soft life in s: renew it when it is older than that
    60  4  CRC-32 of all the rest
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from domain.analytics import SCHEMA
from domain.ports import Coding
from domain.session import SessionId

FORMAT: Final = 1
HEADER_BYTES: Final = 64
EPOCH_BYTES: Final = 8
_MAGIC: Final = b"EMGA"
_HEADER: Final = struct.Struct(">4sBBBB16s16s8sQI")
_CHECKSUM: Final = struct.Struct(">I")
_VERSION_TEXT: Final = re.compile(rb"[0-9a-f]{16}")
_CODINGS: Final[tuple[Coding, ...]] = ("identity", "zstd", "gzip")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one key holds: the coded document, or None for a session without analytics."""

    session_id: SessionId
    version: int
    epoch: bytes
    filled_at_ms: int
    coding: Coding
    payload: bytes | None
    soft_life_s: int = 0


def version_text(version: int) -> bytes:
    """A version as the scripts compare it."""
    return b"%016x" % version


def pack(entry: Entry) -> bytes:
    """The bytes to store."""
    kind, payload = (0, b"") if entry.payload is None else (1, entry.payload)
    header = _HEADER.pack(
        _MAGIC, FORMAT, _CODINGS.index(entry.coding), kind, SCHEMA, version_text(entry.version), entry.session_id.bytes, entry.epoch,
        entry.filled_at_ms, entry.soft_life_s,
    )  # fmt: skip
    return b"".join((header, _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(header))), payload))


def version_and_epoch(header: bytes, session_id: SessionId) -> tuple[int, bytes] | None:
    """What a header alone tells, unchecked by its checksum, which covers the payload too; None if it is no header of this session's."""
    if len(header) < HEADER_BYTES:
        return None
    magic, form, _, _, _, version, key_id, epoch, _, _ = _HEADER.unpack_from(header)
    if magic != _MAGIC or form != FORMAT or key_id != session_id.bytes or not _VERSION_TEXT.fullmatch(version):
        return None
    return int(version, 16), epoch


def unpack(value: bytes, session_id: SessionId) -> Entry | None:
    """The entry in these bytes, or None if they are not a whole, undamaged entry of this format and this session."""
    if len(value) < HEADER_BYTES:
        return None
    magic, form, coding, kind, schema, version, key_id, epoch, filled_at_ms, soft_life_s = _HEADER.unpack_from(value)
    if magic != _MAGIC or form != FORMAT or schema != SCHEMA or coding >= len(_CODINGS) or key_id != session_id.bytes:
        return None
    if not _VERSION_TEXT.fullmatch(version):
        return None
    payload = value[HEADER_BYTES:]
    (checksum,) = _CHECKSUM.unpack_from(value, _HEADER.size)
    if checksum != zlib.crc32(payload, zlib.crc32(value[: _HEADER.size])):
        return None
    return Entry(session_id, int(version, 16), epoch, filled_at_ms, _CODINGS[coding], payload if kind else None, soft_life_s)
