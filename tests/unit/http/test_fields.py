from __future__ import annotations

from adapters.http.fields import fields_of


def test_fields_are_found_by_their_names() -> None:
    assert fields_of([(b"host", b"localhost"), (b"accept", b"*/*")]) == {b"host": b"localhost", b"accept": b"*/*"}


def test_a_field_that_came_more_than_once_is_one_list() -> None:
    headers = [(b"accept-encoding", b"gzip"), (b"host", b"localhost"), (b"accept-encoding", b"zstd"), (b"accept-encoding", b"br")]
    assert fields_of(headers) == {b"accept-encoding": b"gzip, zstd, br", b"host": b"localhost"}


def test_two_hosts_are_no_host() -> None:
    assert fields_of([(b"host", b"localhost"), (b"host", b"elsewhere.example")])[b"host"] == b"localhost, elsewhere.example"
