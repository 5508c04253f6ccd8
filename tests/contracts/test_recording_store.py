"""What every RecordingStore promises."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRecordingKey, RecordingNotFound, RecordingTooLarge
from domain.ports import RecordingStore, StoredRecording
from tests.contracts.conftest import RECORDING_BYTES_MAX, KeptRecordings
from tests.strategies import examples

CONTENT = bytes(range(256)) * 40

NO_KEYS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", ".hidden", "a/.scratch", "a\\b", "..\\a", "a\0b",
    "a\nb", "\x7f", "a/E:", "b.c3d|",

    "\u202egpj.c3d", "\ud800", "a" * 256, "é" * 128, "/".join(["a" * 200] * 6), "a#1", "a/b#22", "//server/share", "a\u2028b", "\ufeffa",
]  # fmt: skip
part = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/\\%"), min_size=1, max_size=40).filter(
    lambda text: not text.startswith(".") and text.isprintable() and "#" not in text and text[-1] not in ":|"
)


async def chunks_of(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


async def content_of(store: RecordingStore, key: str) -> bytes:
    async with store.fetched(key) as path:
        return path.read_bytes()


async def test_what_is_put_is_fetched_equal_and_known_by_its_digest(recordings: KeptRecordings) -> None:
    stored = await recordings.store.put("a/b c.c3d", chunks_of(CONTENT))
    assert stored == StoredRecording("a/b c.c3d", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    assert await content_of(recordings.store, "a/b c.c3d") == CONTENT


async def test_recordings_are_found_by_folder_and_by_how_long_they_are_there(recordings: KeptRecordings) -> None:
    store, begin = recordings.store, datetime.now(UTC) - timedelta(seconds=5)
    for name in ("b", "a", "d", "c"):
        await store.put(f"aged/{name}.c3d", chunks_of(CONTENT))
    await store.put("agedness/a.c3d", chunks_of(CONTENT))
    later = datetime.now(UTC) + timedelta(seconds=5)
    assert list(await store.stored_before(later, folder="aged", limit=3)) == ["aged/a.c3d", "aged/b.c3d", "aged/c.c3d"]
    assert list(await store.stored_before(later, folder="aged", limit=3, after="aged/c.c3d")) == ["aged/d.c3d"]
    assert list(await store.stored_before(begin, folder="aged", limit=3)) == []
    assert list(await store.stored_before(later, folder="none", limit=3)) == []
    since = await store.stored_at("aged/a.c3d")
    assert since is not None
    assert begin < since < later
    assert await store.stored_at("aged/none.c3d") is None


@given(key=st.lists(part, min_size=1, max_size=3).map("/".join), content=st.binary(max_size=300))
@examples(40)
async def test_any_printable_name_is_a_key(recordings: KeptRecordings, key: str, content: bytes) -> None:
    # Each in a folder of its own, for a recording cannot be the folder of another.
    key = f"{hashlib.sha256(key.encode()).hexdigest()}/{key}"
    await recordings.store.put(key, chunks_of(content, 7))
    async with recordings.store.fetched(key) as path:
        assert path.name == key.rpartition("/")[2]  # A recording's name tells when it was recorded.
        assert path.read_bytes() == content
    await recordings.store.delete(key)


@pytest.mark.parametrize("key", NO_KEYS)
async def test_no_other_key_is_taken_and_nothing_is_read_for_it(recordings: KeptRecordings, key: str) -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"x"

    with pytest.raises(InvalidRecordingKey):
        await recordings.store.put(key, chunks())
    assert read == 0
    with pytest.raises(InvalidRecordingKey):
        await content_of(recordings.store, key)
    with pytest.raises(InvalidRecordingKey):
        await recordings.store.delete(key)
    with pytest.raises(InvalidRecordingKey):
        await recordings.store.move(key, "a")
    with pytest.raises(InvalidRecordingKey):
        await recordings.store.move("a", key)
    assert recordings.left() == []


async def test_an_empty_recording_is_kept_too(recordings: KeptRecordings) -> None:
    assert (await recordings.store.put("empty", chunks_of(b""))).size_bytes == 0
    assert await content_of(recordings.store, "empty") == b""


async def test_putting_again_replaces(recordings: KeptRecordings) -> None:
    await recordings.store.put("a", chunks_of(b"first"))
    await recordings.store.put("a", chunks_of(b"second"))
    assert await content_of(recordings.store, "a") == b"second"


async def test_a_recording_of_the_limit_is_taken_and_one_byte_more_is_not(recordings: KeptRecordings) -> None:
    most = bytes(RECORDING_BYTES_MAX)
    await recordings.store.put("most", chunks_of(most, 70_000))
    with pytest.raises(RecordingTooLarge, match=f"{RECORDING_BYTES_MAX / 1e6:g} MB at most"):
        await recordings.store.put("more", chunks_of(most + b"x", 70_000))
    with pytest.raises(RecordingNotFound):
        await content_of(recordings.store, "more")
    assert recordings.left() == ["most"]


async def test_what_is_too_large_is_refused_as_soon_as_it_is(recordings: KeptRecordings) -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(RECORDING_BYTES_MAX // 4)

    with pytest.raises(RecordingTooLarge):
        await recordings.store.put("endless", endless())
    assert asked == 5


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), TimeoutError("too slow"), FileNotFoundError("what?"), ValueError("no")])
async def test_a_sender_that_fails_leaves_nothing_and_its_error_passes(recordings: KeptRecordings, error: Exception) -> None:
    await recordings.store.put("a/kept", chunks_of(b"before"))

    async def fails() -> AsyncIterator[bytes]:
        yield bytes(150_000)
        raise error

    for key in ("a/kept", "a/new"):
        with pytest.raises(type(error)) as caught:
            await recordings.store.put(key, fails())
        assert caught.value is error
    assert await content_of(recordings.store, "a/kept") == b"before"
    assert recordings.left() == ["a/kept"]


async def test_a_put_that_is_cancelled_leaves_nothing(recordings: KeptRecordings) -> None:
    sent = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield bytes(150_000)
        sent.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(recordings.store.put("a", stalls()))
    await sent.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert recordings.left() == []


async def test_whoever_fetches_while_another_puts_sees_one_or_the_other_whole(recordings: KeptRecordings) -> None:
    contents = [bytes([number]) * 100_000 for number in range(1, 7)]
    await recordings.store.put("a", chunks_of(contents[0], 9_000))

    async def put(content: bytes) -> None:
        await recordings.store.put("a", chunks_of(content, 9_000))

    async def fetch() -> bytes:
        return await content_of(recordings.store, "a")

    fetched = await asyncio.gather(*(fetch() for _ in range(10)), *(put(content) for content in contents))
    assert all(content in contents for content in fetched[:10])


async def test_whoever_reads_already_is_not_disturbed_by_a_put(recordings: KeptRecordings) -> None:
    before, after = b"before" * 50_000, b"after" * 50_000
    await recordings.store.put("a", chunks_of(before, 9_000))
    async with recordings.store.fetched("a") as path:
        with path.open("rb", buffering=0) as file:
            beginning = file.read(1000)
            await recordings.store.put("a", chunks_of(after, 9_000))
            assert beginning + file.read() == before
    assert await content_of(recordings.store, "a") == after


async def test_what_was_never_put_is_not_found(recordings: KeptRecordings) -> None:
    with pytest.raises(RecordingNotFound, match=r"'never'"):
        await content_of(recordings.store, "never")
    with pytest.raises(RecordingNotFound, match=r"'never'"):
        await recordings.store.move("never", "to")
    with pytest.raises(RecordingNotFound, match=r"'never'"):
        await recordings.store.move("never", "never")


async def test_a_recording_moves_and_replaces_what_was_there(recordings: KeptRecordings) -> None:
    await recordings.store.put("from/a", chunks_of(b"moved"))
    await recordings.store.put("to", chunks_of(b"there before"))
    await recordings.store.move("from/a", "to")
    assert await content_of(recordings.store, "to") == b"moved"
    await recordings.store.move("to", "to")
    assert await content_of(recordings.store, "to") == b"moved"
    assert recordings.left() == ["to"]


async def test_a_deleted_recording_is_gone_and_deleting_again_changes_nothing(recordings: KeptRecordings) -> None:
    await recordings.store.put("a/b/c", chunks_of(b"x"))
    for _ in range(2):
        await recordings.store.delete("a/b/c")
    with pytest.raises(RecordingNotFound):
        await content_of(recordings.store, "a/b/c")
    assert recordings.left() == []


async def test_puts_and_deletions_in_one_folder_do_not_disturb_each_other(recordings: KeptRecordings) -> None:
    async def come_and_go(number: int) -> None:
        for _ in range(5):
            await recordings.store.put(f"folder/{number}", chunks_of(b"x"))
            await recordings.store.delete(f"folder/{number}")

    await asyncio.gather(*(come_and_go(number) for number in range(6)))
    assert recordings.left() == []


async def test_a_fetched_file_ends_with_its_context_if_it_is_a_copy(recordings: KeptRecordings) -> None:
    await recordings.store.put("a", chunks_of(b"x"))
    held: list[Path] = []

    async def fail_with_it() -> None:
        async with recordings.store.fetched("a") as path:
            held.append(path)
            assert path.is_file()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_with_it()
    assert held[0].exists() == recordings.is_folder
    assert recordings.left() == ["a"]


async def test_a_recording_larger_than_may_be_is_not_fetched(recordings: KeptRecordings, tmp_path: Path) -> None:
    await recordings.store.put("a", chunks_of(bytes(200)))
    with pytest.raises(RecordingTooLarge):
        await content_of(recordings.with_limit(100), "a")
