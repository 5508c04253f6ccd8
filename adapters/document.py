"""The analytics document as bytes: canonical JSON, schema 1.

Canonical: keys in the order of the dataclasses' fields, no white space, UTF-8, floats in their shortest exact form. Every store and every
API answers with these bytes, so equal analytics are equal bytes. msgspec reads them straight into the domain's dataclasses.
"""

from __future__ import annotations

from typing import Final

import msgspec

from domain.analytics import SessionAnalytics
from domain.errors import StoredDataInvalid

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(SessionAnalytics)


def encode(analytics: SessionAnalytics) -> bytes:
    """The canonical document."""
    return _ENCODER.encode(analytics)


def decode(body: bytes | str, *, of: str) -> SessionAnalytics:
    """The analytics in a document. `of` names it in the StoredDataInvalid that anything else raises; the content is not quoted."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise StoredDataInvalid(f"the stored analytics of {of} are not a schema 1 document: {_without_values(error)}") from None


def _without_values(error: Exception) -> str:
    # msgspec names types and paths. A text that is no JSON at all may be quoted by others, so only its own messages pass.
    return str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
