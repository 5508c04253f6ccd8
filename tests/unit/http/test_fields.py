from __future__ import annotations

import pytest

from adapters.http.access import comes_from_elsewhere
from adapters.http.fields import fields_of


def test_fields_are_found_by_their_names() -> None:
    assert fields_of([(b"host", b"localhost"), (b"accept", b"*/*")]) == {b"host": b"localhost", b"accept": b"*/*"}


def test_a_field_that_came_more_than_once_is_one_list() -> None:
    headers = [(b"accept-encoding", b"gzip"), (b"host", b"localhost"), (b"accept-encoding", b"zstd"), (b"accept-encoding", b"br")]
    assert fields_of(headers) == {b"accept-encoding": b"gzip, zstd, br", b"host": b"localhost"}


def test_two_hosts_are_no_host() -> None:
    assert fields_of([(b"host", b"localhost"), (b"host", b"elsewhere.example")])[b"host"] == b"localhost, elsewhere.example"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"localhost"), (b"host", b"elsewhere.example")],
        [(b"host", b"elsewhere.example"), (b"host", b"@localhost")],
        [(b"host", b"elsewhere.example@localhost")],
        [(b"host", b"localhost"), (b"origin", b"http://elsewhere.example"), (b"origin", b"http://x@localhost")],
    ],
)
def test_two_names_in_one_field_are_not_this_machine(headers: list[tuple[bytes, bytes]]) -> None:
    assert comes_from_elsewhere({"client": ("127.0.0.1", 1)}, fields_of(headers)) is not None


@pytest.mark.parametrize("host", [b"localhost", b"localhost:8000", b"127.0.0.1:8000", b"[::1]:8000"])
def test_this_machine_is_known_by_its_own_names(host: bytes) -> None:
    headers = [(b"host", host), (b"origin", b"http://" + host)]
    assert comes_from_elsewhere({"client": ("127.0.0.1", 1)}, fields_of(headers)) is None
