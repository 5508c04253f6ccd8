"""The forms in which a document is answered: as it is stored, in another coding, and without what it says of people.

Forms other than the stored one are made once and kept a while. A form belongs to one version of one session, so it never becomes wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from cachetools import TTLCache

from adapters import document
from adapters.http.codings import choose, recode
from adapters.http.policy import HttpPolicy
from adapters.http.problems import NOT_ACCEPTABLE, Problem
from domain.access import without_people
from domain.analytics import SessionAnalytics
from domain.ports import Coding, DocumentAnswer
from domain.session import SessionId

_OF_ETAGS: Final = re.compile(rb'(?:W/)?"([0-9a-f]{32})\.([0-9]{1,19})\.(zstd|gzip|identity)(\.anonymous)?"')
_OVERHEAD_BYTES: Final = 500


@dataclass(frozen=True, slots=True)
class Representation:
    """One form of one version of one session's analytics. `anonymous`: without what the recording says of people."""

    session_id: SessionId
    version: int
    coding: Coding
    anonymous: bool

    def etag(self) -> bytes:
        """A strong entity tag: equal tags are equal bytes."""
        return b'"%s.%d.%s%s"' % (
            self.session_id.hex.encode(),
            self.version,
            self.coding.encode(),
            b".anonymous" if self.anonymous else b"",
        )


def representations_in(if_none_match: bytes) -> list[tuple[str, int, Coding, bool]]:
    """The representations that a client says it has: session in hex, version, coding, anonymous. Tags that are not ours are left out."""
    found = _OF_ETAGS.findall(if_none_match)
    return [(session.decode(), int(version), coding.decode(), bool(anonymous)) for session, version, coding, anonymous in found]


class Representations:
    """Makes representations, and keeps those that took work."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._made: TTLCache[Representation, bytes] = TTLCache(
            policy.representations_bytes_max, policy.representations_s_max, getsizeof=lambda body: len(body) + _OVERHEAD_BYTES
        )

    async def of_document(self, session_id: SessionId, answer: DocumentAnswer, accept: bytes | None) -> tuple[Coding, bytes]:
        """The form that a client wants of a document as it is stored: mostly just that. Raises a Problem with status 406."""
        coding = choose(accept, answer.coding, len(answer.body))
        if coding is None:
            raise not_acceptable()
        if coding == answer.coding:
            return coding, answer.body
        return coding, await self._recoded(Representation(session_id, answer.version, coding, anonymous=False), answer.body, answer.coding)

    async def anonymous(self, analytics: SessionAnalytics, version: int, accept: bytes | None) -> tuple[Coding, bytes]:
        """The form without what the recording says of people. Raises a Problem with status 406."""
        plain = Representation(analytics.session_id, version, "identity", anonymous=True)
        body = self._made.get(plain)
        if body is None:
            body = document.encode(without_people(analytics))
            self._keep(plain, body)
        coding = choose(accept, "identity", len(body))
        if coding is None:
            raise not_acceptable()
        return coding, await self._recoded(replace(plain, coding=coding), body, "identity")

    def forget(self, session_id: SessionId) -> None:
        """The session is being erased: nothing of it stays here."""
        for made in [made for made in self._made if made.session_id == session_id]:
            self._made.pop(made, None)

    async def _recoded(self, wanted: Representation, body: bytes, coding: Coding) -> bytes:
        if wanted.coding == coding:
            return body
        made = self._made.get(wanted)
        if made is None:
            made = await recode(body, coding, wanted.coding)
            self._keep(wanted, made)
        return made

    def _keep(self, representation: Representation, body: bytes) -> None:
        if len(body) + _OVERHEAD_BYTES <= self._made.maxsize // 4:
            self._made[representation] = body


def not_acceptable() -> Problem:
    """The problem of a client that accepts no coding."""
    return Problem(NOT_ACCEPTABLE, "accept one of zstd, gzip and identity", headers={"Vary": "Accept-Encoding"})
