"""Content codings: which one a client gets, and from one to another."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import zstandard

from domain.errors import StoredDataInvalid
from domain.ports import Coding

# The most that a document may grow to, so that nothing stored by whomever can fill the memory.
_DOCUMENT_BYTES_MAX: Final = 256_000_000
_WORTH_COMPRESSING_BYTES: Final = 1_024
_OFF_LOOP_FROM_BYTES: Final = 100_000
_HEADER_BYTES_MAX: Final = 1_000
_GZIP: Final = 31  # zlib's wbits for a gzip frame
_LEVEL: Final = 3
_IMPLIED: Final = 0.0005  # Below any quality a client can name: what it did not mention, and does not forbid.
_ELEMENT: Final = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;\s*[qQ]\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")
CODINGS: Final[tuple[Coding, ...]] = ("zstd", "gzip", "identity")
"""All codings there are, the smaller first."""


@lru_cache(maxsize=256)
def qualities(header: bytes | None) -> Mapping[Coding, float]:
    """How much a client wants each coding that there is, by its Accept-Encoding header (RFC 9110, 12.5.3); 0: not at all.

    A client that sends no such header may not know of codings at all, so it gets none. What cannot be read in the header is ignored.
    """
    named: dict[str, float] = {}
    for element in (header or b"")[:_HEADER_BYTES_MAX].decode("latin-1").split(","):
        if (found := _ELEMENT.fullmatch(element)) is not None:
            coding = found[1].lower()
            named["gzip" if coding == "x-gzip" else coding] = min(1.0, float(found[2])) if found[2] else 1.0
    others = named.get("*", 0.0)
    wanted: dict[Coding, float] = {coding: named.get(coding, others) for coding in CODINGS}
    if "identity" not in named:
        wanted["identity"] = 0.0 if named.get("*") == 0 else max(others, _IMPLIED)
    return MappingProxyType(wanted)


def choose(header: bytes | None, stored: Coding, size_bytes: int) -> Coding | None:
    """The coding to answer in: what the client wants most; of equals the stored one, if it is compressed, then the smaller. None: none.

    What is small is not compressed if it need not be.
    """
    wanted = qualities(header)
    if stored != "identity" and wanted[stored] == 1.0:
        return stored
    if stored == "identity" and size_bytes < _WORTH_COMPRESSING_BYTES and wanted["identity"] > 0:
        return "identity"
    best = max(CODINGS, key=lambda coding: (wanted[coding], coding == stored != "identity"))
    return best if wanted[best] > 0 else None


async def recode(body: bytes, stored: Coding, wanted: Coding) -> bytes:
    """The body in another coding; large ones are worked on in a thread. Raises StoredDataInvalid if it is not coded as said."""
    if stored == wanted:
        return body
    if len(body) < _OFF_LOOP_FROM_BYTES:
        return _recode(body, stored, wanted)
    return await asyncio.to_thread(_recode, body, stored, wanted)


def _recode(body: bytes, stored: Coding, wanted: Coding) -> bytes:
    plain = _decoded(body, stored)
    match wanted:
        case "identity":
            return plain
        case "zstd":
            return zstandard.ZstdCompressor(level=_LEVEL).compress(plain)
        case "gzip":
            compressor = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
            return compressor.compress(plain) + compressor.flush()


def _decoded(body: bytes, coding: Coding) -> bytes:
    try:
        match coding:
            case "identity":
                return body
            case "zstd":
                if 0 <= zstandard.frame_content_size(body) <= _DOCUMENT_BYTES_MAX:
                    return zstandard.ZstdDecompressor().decompress(body)
            case "gzip":
                decompressor = zlib.decompressobj(_GZIP)
                plain = decompressor.decompress(body, _DOCUMENT_BYTES_MAX)
                if decompressor.eof:
                    return plain
    except (zstandard.ZstdError, zlib.error):
        pass
    raise StoredDataInvalid(f"a stored document is not {coding}, as it is said to be")
