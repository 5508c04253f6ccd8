"""The analytics document as bytes: canonical JSON, schema 1.

Canonical: keys in the order of the dataclasses' fields, or sorted where they are free, no white space, UTF-8, floats in their shortest
exact form, no minus zero. Every store and every API answers with these bytes, so equal analytics are equal bytes. msgspec reads them
straight into the domain's dataclasses.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from domain.analytics import SessionAnalytics
from domain.errors import InvalidParameters, StoredDataInvalid
from domain.ports import AnalyticsAnswer, DocumentAnswer
from domain.session import SessionId

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_DECODER: Final = msgspec.json.Decoder(SessionAnalytics)


_MINUS_ZERO: Final = re.compile(rb"-0\.0(?![0-9eE])")
# Strings first, so that what looks like a number inside one is left alone.
_STRING_OR_MINUS_ZERO: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|' + _MINUS_ZERO.pattern)
_PATH: Final = re.compile(r"`\$[^`]*`$")


def encode(analytics: SessionAnalytics) -> bytes:
    """The canonical document."""
    body = _ENCODER.encode(analytics)
    # PostgreSQL's numbers have no minus zero, so nobody's have. Looking for one first takes a hundredth of replacing it.
    if _MINUS_ZERO.search(body) is None:
        return body
    return _STRING_OR_MINUS_ZERO.sub(lambda found: b"0.0" if found[0] == b"-0.0" else found[0], body)


def of_answer(answer: AnalyticsAnswer) -> DocumentAnswer:
    """The same answer as bytes, for a store that does not keep these."""
    return DocumentAnswer(encode(answer.analytics), "identity", answer.version, answer.source, answer.age_s, answer.stale)


def encode_to_store(analytics: SessionAnalytics) -> bytes:
    """The canonical document, once it is sure that it can be read back. Raises StoredDataInvalid for what JSON cannot hold, such as NaN."""
    of = f"session {analytics.session_id}"
    try:
        body = encode(analytics)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
        raise StoredDataInvalid(f"the analytics of {of} cannot be written as a document ({type(error).__name__})") from None
    if decode(body, of=of) != analytics:
        raise StoredDataInvalid(f"the analytics of {of} would not be read back as they are; do they hold NaN or infinity?")
    return body


def decode(body: bytes | str, *, of: SessionId | str) -> SessionAnalytics:
    """The analytics in a document. `of`, a session or a word for it, is named in the StoredDataInvalid that anything else raises; the
    content is not quoted."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, ValueError, InvalidParameters) as error:
        name = of if isinstance(of, str) else f"session {of}"
        raise StoredDataInvalid(f"the stored analytics of {name} are not a schema 1 document: {_without_values(error)}") from None


def _without_values(error: Exception) -> str:
    # msgspec's messages may quote a value; the path to it, which names no free keys, is enough to find it.
    path = _PATH.search(str(error))
    return f"{type(error).__name__}{f' at {path[0]}' if path else ''}"
