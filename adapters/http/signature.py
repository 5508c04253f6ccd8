"""Signatures of webhooks: HMAC-SHA256 of the raw body, as hex digits."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Final

_SIGNATURE: Final = re.compile(r"(?:sha256=)?([0-9a-f]{64})", re.IGNORECASE)


def sign(body: bytes, secret: str) -> str:
    """The signature of a body, as the sender writes it into its header."""
    return hmac.new(secret.encode(), body, "sha256").hexdigest()


def is_signed(body: bytes, signature: str | None, secrets: Sequence[str]) -> bool:
    """Whether a signature, with or without `sha256=`, is that of the body under one of the secrets.

    There are two secrets while one is being replaced. Every one of them is tried, however the first compares, and each comparison takes
    the same time wherever the digits differ: neither tells a stranger how close a guess was.
    """
    found = _SIGNATURE.fullmatch(signature.strip()) if signature is not None else None
    given = bytes.fromhex(found[1]) if found else b""
    matches = False
    for secret in secrets:
        if not secret:
            raise ValueError("an empty secret signs nothing: whoever knows that it is empty can sign")
        matches |= hmac.compare_digest(hmac.digest(secret.encode(), body, "sha256"), given)
    return matches
