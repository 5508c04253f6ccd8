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

import struct
import zlib
from typing import Final

import msgspec

from domain.analytics import SCHEMA
from domain.ports import Coding
from domain.session import SessionId

FORMAT: Final = 1
HEADER_BYTES: Final = 64
EPOCH_BYTES: Final = 8
_MAGIC: Final = b"EMGA"
_HEADER: Final = struct.Struct(">4sBBBB16s16s8sQI")
_SEALED_HEADER: Final = struct.Struct(">8x16s16s8sQII")
_CHECKSUM: Final = struct.Struct(">I")
_CHECKED_BYTES: Final = _HEADER.size
_CODINGS: Final[tuple[Coding, ...]] = ("identity", "zstd", "gzip")

# All that the first eight bytes of an entry can be: coding, and whether there is a payload.
_STARTS: Final[dict[bytes, tuple[Coding, bool]]] = {
    _MAGIC + bytes((FORMAT, number, kind, SCHEMA)): (coding, kind == 1) for number, coding in enumerate(_CODINGS) for kind in (0, 1)
}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What one key holds: the coded document, or None for a session without analytics.

    One is made for every read of Redis: a struct of msgspec's takes a tenth of a dataclass's time.
    """

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


def header_of(entry: Entry) -> bytes:
    """The first 64 bytes of what is stored. They hold a checksum of everything: two entries with one header are one entry."""
    kind, payload = (0, b"") if entry.payload is None else (1, entry.payload)
    header = _HEADER.pack(
        _MAGIC, FORMAT, _CODINGS.index(entry.coding), kind, SCHEMA, version_text(entry.version), entry.session_id.bytes, entry.epoch,
        entry.filled_at_ms, entry.soft_life_s,
    )  # fmt: skip
    return header + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(header)))


def pack(entry: Entry) -> bytes:
    """The bytes to store."""
    return header_of(entry) + (entry.payload or b"")


def unpack(value: bytes, session_id: SessionId) -> Entry | None:
    """The entry in these bytes, or None if they are not a whole, undamaged entry of this format and this session."""
    if len(value) < HEADER_BYTES or (start := _STARTS.get(value[:8])) is None:
        return None
    version_hex, key_id, epoch, filled_at_ms, soft_life_s, checksum = _SEALED_HEADER.unpack_from(value)
    payload = value[HEADER_BYTES:]
    if key_id != session_id.bytes or checksum != zlib.crc32(payload, zlib.crc32(value[:_CHECKED_BYTES])):
        return None
    try:
        version = int(version_hex, 16)
    except ValueError:
        return None
    if version_hex != version_text(version):
        return None
    coding, has_payload = start
    return Entry(session_id, version, epoch, filled_at_ms, coding, payload if has_payload else None, soft_life_s)
