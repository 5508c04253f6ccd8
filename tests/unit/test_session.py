"""The identity of sessions."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidSessionId
from domain.session import parse_session_id, session_id_of

DIGEST = "0123456789abcdef" * 4


def test_the_id_of_a_recording_never_changes() -> None:
    assert str(session_id_of(DIGEST)) == "8875f6b3-2853-5d9a-abc8-1a0cb96a3e0c", (
        "the ids of all stored sessions derive so: do not change it"
    )


def test_a_digest_is_one_in_either_case_of_letters() -> None:
    assert session_id_of(DIGEST.upper()) == session_id_of(DIGEST)


@given(digests=st.sets(st.text("0123456789abcdef", min_size=64, max_size=64), min_size=2, max_size=2))
def test_two_recordings_are_two_sessions(digests: set[str]) -> None:
    one, other = digests
    assert session_id_of(one) != session_id_of(other)


@pytest.mark.parametrize("digest", ["", DIGEST[:-1], DIGEST + "0"])
def test_what_is_no_digest_has_no_id(digest: str) -> None:
    with pytest.raises(ValueError, match="64 hex digits"):
        session_id_of(digest)


@given(identity=st.uuids())
def test_an_id_is_read_as_it_is_written_in_either_case_and_amid_blanks(identity: UUID) -> None:
    for text in (str(identity), str(identity).upper(), f" {identity}\n"):
        assert parse_session_id(text) == identity


@pytest.mark.parametrize(
    "text",
    ["", "6f1c1c3e", "6f1c1c3e52ff5d5a9d0b7f6a2b8d9a10", "{6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10}",
     "urn:uuid:6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10",
     "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a1g", "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a100", "\uff16f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"],
)  # fmt: skip
def test_what_is_no_id_is_refused_and_shown(text: str) -> None:
    with pytest.raises(InvalidSessionId) as caught:
        parse_session_id(text)
    assert repr(text) in str(caught.value)


@given(text=st.text())
def test_any_text_is_an_id_or_refused(text: str) -> None:
    with suppress(InvalidSessionId):
        assert str(parse_session_id(text)) == text.strip().lower()
