"""Documents to entries and back."""

from __future__ import annotations

import gzip
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
import zstandard
from hypothesis import given

from adapters import document
from adapters.redis_cache.codec import Codec
from adapters.redis_cache.entry import Entry
from adapters.redis_cache.policy import CachePolicy
from domain.analytics import SessionAnalytics
from domain.ports import AnalyticsAnswer
from tests.strategies import any_analytics, examples, new_id, some_analytics, some_channel

EPOCH = b"epoch..8"
T = TypeVar("T")


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has no reason to wait: small documents stay in the event loop."""
    try:
        work.send(None)
    except StopIteration as ended:
        value: T = ended.value
        return value
    raise AssertionError("it waited")


def answer(analytics: SessionAnalytics, version: int = 3) -> AnalyticsAnswer:
    return AnalyticsAnswer(analytics, version, "postgres", 0.0)


def codec(now_s: float = 1000.0, **policy: object) -> Codec:
    return Codec(CachePolicy(**policy), wall_clock=lambda: now_s)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["zstd", "gzip", "none"])
@given(analytics=any_analytics)
@examples(40)
def test_whatever_goes_in_comes_out_equal(name: str, analytics: SessionAnalytics) -> None:
    ours = codec(codec=name)
    entry = at_once(ours.entry(analytics.session_id, answer(analytics), EPOCH))
    assert entry is not None
    assert at_once(ours.analytics(entry)) == analytics
    assert entry.payload is not None
    match entry.coding:
        case "zstd":
            body = zstandard.ZstdDecompressor().decompress(entry.payload)
        case "gzip":
            body = gzip.decompress(entry.payload)
        case _:
            body = entry.payload
    assert body == document.encode(analytics)


def test_absence_is_an_entry_of_version_zero_without_payload() -> None:
    session_id = new_id()
    entry = at_once(codec().entry(session_id, None, EPOCH))
    assert entry == Entry(session_id, 0, EPOCH, 1_000_000, "identity", None)
    assert at_once(codec().analytics(entry)) is None


def test_a_document_is_compressed_from_the_size_on_that_the_policy_names() -> None:
    analytics = some_analytics()
    size = len(document.encode(analytics))
    for compress_from_bytes, coding in ((size, "zstd"), (size + 1, "identity")):
        entry = at_once(codec(compress_from_bytes=compress_from_bytes).entry(analytics.session_id, answer(analytics), EPOCH))
        assert entry is not None
        assert entry.coding == coding


def test_compression_makes_a_large_document_much_smaller() -> None:
    analytics = some_analytics(channels=tuple(some_channel(f"CH{number}") for number in range(50)))
    entry = at_once(codec().entry(analytics.session_id, answer(analytics), EPOCH))
    assert entry is not None
    assert entry.payload is not None
    assert len(entry.payload) < len(document.encode(analytics)) / 4


def test_a_document_above_the_limit_is_not_stored_and_one_at_it_is() -> None:
    analytics = some_analytics()
    size = len(document.encode(analytics))
    assert at_once(codec(document_bytes_max=size - 1).entry(analytics.session_id, answer(analytics), EPOCH)) is None
    assert at_once(codec(document_bytes_max=size).entry(analytics.session_id, answer(analytics), EPOCH)) is not None


def entry_of(payload: bytes, coding: str = "zstd") -> Entry:
    return Entry(new_id(), 1, EPOCH, 0, coding, payload)  # type: ignore[arg-type]


BOMB = zstandard.ZstdCompressor(level=19).compress(b"\0" * (64 * 1024 * 1024))
LIAR = bytearray(zstandard.ZstdCompressor(write_content_size=True).compress(b"[]" * 1000))
UNKNOWN = zstandard.ZstdCompressor(write_content_size=False).compress(b"{}")


@pytest.mark.parametrize(
    "payload",
    [
        BOMB,
        UNKNOWN,
        b"",
        b"no zstd",
        zstandard.compress(b"{}"),
        zstandard.compress(b""),
        zstandard.compress(b"[" * 100_000),
        bytes(LIAR[:20]),
    ],
    ids=["bomb", "unknown size", "empty", "no zstd", "no document", "compressed nothing", "deep nesting", "cut off"],
)
def test_a_payload_that_is_no_document_is_none(payload: bytes) -> None:
    assert at_once(codec().analytics(entry_of(payload))) is None


@pytest.mark.parametrize("payload", [b"", b"{}", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema":2}'], ids=repr)
def test_an_uncompressed_payload_that_is_no_document_is_none(payload: bytes) -> None:
    assert at_once(codec(off_loop_from_bytes=1 << 30).analytics(entry_of(payload, "identity"))) is None


def test_a_document_with_impossible_parameters_is_none() -> None:
    analytics = some_analytics()
    payload = document.encode(analytics).replace(b'"spectrum_overlap_samples":64', b'"spectrum_overlap_samples":6400')
    assert at_once(codec().analytics(Entry(analytics.session_id, 1, EPOCH, 0, "identity", payload))) is None


GZIP_BOMB = gzip.compress(b"\0" * (64 * 1024 * 1024), mtime=0)
NO_DOCUMENT = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize(
    "payload",
    [b"", b"no gzip", GZIP_BOMB, NO_DOCUMENT[:-4], NO_DOCUMENT],
    ids=["empty", "no gzip", "bomb", "cut off", "no document"],
)
def test_a_gzip_payload_that_is_no_document_is_none(payload: bytes) -> None:
    assert at_once(codec(off_loop_from_bytes=1 << 30).analytics(entry_of(payload, "gzip"))) is None


async def test_large_documents_are_worked_on_off_the_loop() -> None:
    analytics = some_analytics()
    ours = codec(off_loop_from_bytes=8)
    working = ours.entry(analytics.session_id, answer(analytics), EPOCH)
    with pytest.raises(AssertionError, match="it waited"):
        at_once(ours.entry(analytics.session_id, answer(analytics), EPOCH))
    entry = await working
    assert entry is not None
    assert await ours.analytics(entry) == analytics


def test_the_age_counts_from_the_filling_and_never_below_zero() -> None:
    analytics = some_analytics()
    entry = at_once(codec(now_s=1000.0).entry(analytics.session_id, answer(analytics), EPOCH))
    assert entry is not None
    for now_s, age_s in ((1000.0, 0.0), (1012.5, 12.5), (900.0, 0.0)):
        assert codec(now_s=now_s).age_s(entry) == age_s


def test_an_entry_wants_renewing_in_the_last_part_of_its_life() -> None:
    analytics = some_analytics()
    choices: dict[str, object] = {"ttl_s": 1000.0, "absent_ttl_s": 10.0, "refresh_fraction": 0.9}
    entry = at_once(codec(**choices).entry(analytics.session_id, answer(analytics), EPOCH))  # type: ignore[arg-type]
    assert entry is not None
    assert not codec(now_s=1899.0, **choices).wants_refresh(entry)
    assert codec(now_s=1901.0, **choices).wants_refresh(entry)
