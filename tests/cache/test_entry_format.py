"""The bytes of an entry. They are read by other versions of this program, so they change only together with FORMAT."""

from __future__ import annotations

import zlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.redis_cache.entry import EPOCH_BYTES, FORMAT, HEADER_BYTES, Entry, pack, unpack, version_text
from domain.analytics import SCHEMA
from domain.ports import Coding
from domain.session import SessionId
from tests.strategies import examples, new_id

SESSION = SessionId(UUID("6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"))
BUMP = "the stored bytes changed: raise FORMAT in adapters/redis_cache/entry.py, and in header_of in scripts/_entry.lua, then this golden"

GOLDEN = {
    Entry(SESSION, 0x2A, b"\x01\x02\x03\x04\x05\x06\x07\x08", 1_700_000_000_123, "identity", b'{"a":1}'): (
        "454d4741" "01" "00" "01" "01" "30303030303030303030303030303261" "6f1c1c3e52ff5d5a9d0b7f6a2b8d9a10"
        "0102030405060708" "0000018bcfe5687b" "00000000" "5870fd4b" "7b2261223a317d"
    ),
    Entry(SESSION, (1 << 63) - 1, b"\xff" * 8, 0, "zstd", b"\x28\xb5\x2f\xfd"): (
        "454d4741" "01" "01" "01" "01" "37666666666666666666666666666666" "6f1c1c3e52ff5d5a9d0b7f6a2b8d9a10"
        "ffffffffffffffff" "0000000000000000" "00000000" "e7acc050" "28b52ffd"
    ),
    Entry(SESSION, 0, b"\x00" * 8, 1, "identity", None): (
        "454d4741" "01" "00" "00" "01" "30303030303030303030303030303030" "6f1c1c3e52ff5d5a9d0b7f6a2b8d9a10"
        "0000000000000000" "0000000000000001" "00000000" "38d72e3d"
    ),
}  # fmt: skip

codings: st.SearchStrategy[Coding] = st.sampled_from(["identity", "zstd"])
entries = st.builds(
    Entry,
    st.uuids().map(SessionId),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=EPOCH_BYTES, max_size=EPOCH_BYTES),
    st.integers(0, 2**63 - 1),
    codings,
    st.none() | st.binary(max_size=200),
)


def test_the_format_has_not_changed() -> None:
    assert (FORMAT, SCHEMA, HEADER_BYTES) == (1, 1, 64), BUMP


@pytest.mark.parametrize(("entry", "golden"), GOLDEN.items(), ids=["identity", "zstd", "absent"])
def test_the_bytes_have_not_changed(entry: Entry, golden: str) -> None:
    assert pack(entry).hex() == golden, BUMP
    assert unpack(bytes.fromhex(golden), entry.session_id) == entry, BUMP


@given(entry=entries)
@examples(200)
def test_what_was_packed_is_unpacked(entry: Entry) -> None:
    packed = pack(entry)
    assert len(packed) == HEADER_BYTES + len(entry.payload or b"")
    assert unpack(packed, entry.session_id) == entry


@given(entry=entries, data=st.data())
@examples(200)
def test_no_flipped_byte_passes(entry: Entry, data: st.DataObject) -> None:
    packed = bytearray(pack(entry))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    assert unpack(bytes(packed), entry.session_id) is None


def test_no_flipped_bit_passes_anywhere_in_an_entry() -> None:
    entry = next(iter(GOLDEN))
    packed = pack(entry)
    for place in range(len(packed)):
        for bit in range(8):
            damaged = bytearray(packed)
            damaged[place] ^= 1 << bit
            assert unpack(bytes(damaged), entry.session_id) is None, (place, bit)


@given(entry=entries, data=st.data())
@examples(200)
def test_no_truncated_or_lengthened_entry_passes(entry: Entry, data: st.DataObject) -> None:
    packed = pack(entry)
    assert unpack(packed[: data.draw(st.integers(0, len(packed) - 1))], entry.session_id) is None
    assert unpack(packed + data.draw(st.binary(min_size=1, max_size=10)), entry.session_id) is None


@given(entry=entries)
@examples(50)
def test_an_entry_of_another_session_does_not_pass(entry: Entry) -> None:
    assert unpack(pack(entry), new_id()) is None


@given(value=st.binary(max_size=300))
@examples(200)
def test_foreign_bytes_do_not_pass_and_do_not_raise(value: bytes) -> None:
    assert unpack(value, SESSION) is None


@given(header=st.binary(min_size=24, max_size=24), tail=st.binary(min_size=20, max_size=20), payload=st.binary(max_size=20))
@examples(300)
def test_a_foreign_header_with_a_right_checksum_does_not_raise(header: bytes, tail: bytes, payload: bytes) -> None:
    """Whoever writes such a thing means it; a reader survives it all the same."""
    for start in (header, b"EMGA\x01\x00\x01\x01" + header[8:]):
        body = start + SESSION.bytes + tail
        checksum = zlib.crc32(payload, zlib.crc32(body)).to_bytes(4, "big")
        found = unpack(body + checksum + payload, SESSION)
        assert found is None or version_text(found.version) == start[8:24]


@given(versions=st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=2))
@examples(200)
def test_versions_compare_as_text_as_they_do_as_numbers(versions: list[int]) -> None:
    one, other = versions
    assert (version_text(one) < version_text(other)) == (one < other)
    assert len(version_text(one)) == 16
