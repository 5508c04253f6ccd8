"""Recordings in an object store, whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from heapq import nsmallest
from io import FileIO
from itertools import takewhile
from pathlib import Path
from typing import Final

import obstore

from adapters.recordings.errors import translated, translated_write
from adapters.recordings.keys import checked, shown
from adapters.recordings.places import Place
from adapters.recordings.policy import RecordingPolicy
from adapters.recordings.scratch import finished, synced_folder
from domain.errors import InvalidRecordingKey, RecordingNotFound, RecordingTooLarge, StorageUnavailable
from domain.ports import RecordingStore, StoredRecording

_PIECE_BYTES: Final = 1 << 20
_INCOMING: Final = "recording"
_NAMING_ATTEMPTS: Final = 3


class ObstoreRecordingStore(RecordingStore):
    """Keeps recordings in a folder, in S3 or in memory.

    What arrives is first written to a temporary file, digested on its way. Only when it is complete does it get its key: in a folder by a
    rename, in S3 by a single PUT, so that nobody ever sees a part of a recording, and a process that is killed leaves a temporary file,
    which `open` of a later one removes. Requests to S3 have their deadlines in obstore's client; another stands around each here.
    """

    def __init__(self, place: Place, policy: RecordingPolicy) -> None:
        self.place = place
        self.policy = policy
        self._objects = place.objects
        self._scratch = place.scratch
        self._root = place.root
        self._transfers = asyncio.Semaphore(policy.transfers_max)

    async def open(self) -> None:
        """Removes what killed processes have left."""
        await finished(self._scratch.remove_leftovers, self.policy.leftover_s)

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> StoredRecording:
        """See the port. What `chunks` raises passes, and nothing is stored then."""
        checked(key)
        async with self._scratch.place() as folder:
            incoming = folder / _INCOMING
            sha256, size_bytes = await self._received(chunks, incoming)
            if self._root is None:
                await self._sent(key, incoming)
            else:
                await self._named(self._root, key, incoming)
        return StoredRecording(key, sha256, size_bytes)

    @asynccontextmanager
    async def fetched(self, key: str) -> AsyncIterator[Path]:
        """See the port. The file itself if it is in a folder, else a copy that ends with the context. Its name is the key's last part."""
        checked(key)
        if self._root is not None:
            with translated(key):
                path = await finished(self._found, self._root, key)
            yield path
            return
        async with self._scratch.place() as folder:
            path = folder / key.rpartition("/")[2]
            stop = threading.Event()
            with translated(key):
                async with asyncio.timeout(self.policy.transfer_s), self._transfers:
                    await finished(self._download, key, path, stop, when_cancelled=stop.set)
            yield path

    async def move(self, key: str, to: str) -> None:
        """See the port. In S3 a copy and a deletion: if it ends in between there are both, and moving again completes it."""
        checked(key)
        checked(to)
        with translated(key):
            if self._root is not None:
                await finished(self._found, self._root, key)
                await finished(self._free, self._root, to)
            async with asyncio.timeout(self.policy.transfer_s):
                if key == to:
                    await obstore.head_async(self._objects, key)  # S3 would copy it onto itself, and then delete it.
                else:
                    await self._renamed(key, to)
            if self._root is not None:
                await finished(_remove_empty_folders, self._root, self._root / key)

    async def delete(self, key: str) -> None:
        """See the port."""
        checked(key)
        try:
            with translated(key):
                if self._root is not None:
                    await finished(self._free, self._root, key)
                async with asyncio.timeout(self.policy.transfer_s):
                    await obstore.delete_async(self._objects, key)
        except RecordingNotFound:
            return

    async def stored_at(self, key: str) -> datetime | None:
        """See the port."""
        checked(key)
        try:
            with translated(key):
                async with asyncio.timeout(self.policy.transfer_s):
                    return (await obstore.head_async(self._objects, key))["last_modified"]
        except RecordingNotFound:
            return None

    async def stored_before(self, moment: datetime, *, folder: str, limit: int, after: str = "") -> Sequence[str]:
        """See the port. No store lists by age, so each page looks at all keys of the folder."""
        checked(folder)
        stop = threading.Event()
        with translated(folder):
            async with asyncio.timeout(self.policy.transfer_s), self._transfers:
                return await finished(self._listed, moment, folder, limit, after, stop, when_cancelled=stop.set)

    async def _received(self, chunks: AsyncIterable[bytes], incoming: Path) -> tuple[str, int]:
        digest, size, waiting = hashlib.sha256(), 0, bytearray()
        opened: list[FileIO] = []  # Also what is opened for somebody who is cancelled meanwhile must be closed.
        try:
            with translated_write():
                await finished(lambda: opened.append(_created(incoming)))
            [file] = opened
            async with asyncio.timeout(self.policy.arrival_s) as deadline:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self.policy.bytes_max:
                        raise RecordingTooLarge(self.policy.bytes_max)
                    waiting += chunk
                    if len(waiting) >= _PIECE_BYTES:
                        piece, waiting = waiting, bytearray()
                        with translated_write():
                            await finished(_write, file, piece, digest)
            with translated_write():
                await finished(_write, file, waiting, digest)
                await finished(os.fsync, file.fileno())
        except TimeoutError as error:
            if not deadline.expired():
                raise  # It is the sender's own.
            raise StorageUnavailable(f"the recording did not arrive within {self.policy.arrival_s:g} s") from error
        finally:
            for each in opened:
                await finished(each.close)
        return digest.hexdigest(), size

    async def _sent(self, key: str, incoming: Path) -> None:
        with translated_write():
            async with asyncio.timeout(self.policy.transfer_s), self._transfers:
                body = await finished(incoming.read_bytes)
                # One request: of an upload in parts that is broken off, S3 keeps the parts, unseen, until somebody looks for them.
                await obstore.put_async(self._objects, key, body, use_multipart=False)

    async def _named(self, root: Path, key: str, incoming: Path) -> None:
        source = str(incoming.relative_to(root))
        with translated_write():
            await finished(self._free, root, key)
            async with asyncio.timeout(self.policy.transfer_s):
                await self._renamed(source, key)
            await finished(synced_folder, (root / key).parent)

    async def _renamed(self, key: str, to: str) -> None:
        for _ in range(_NAMING_ATTEMPTS - 1):
            # A deletion may remove the folder that we have just made, for it is empty.
            with suppress(FileNotFoundError):
                return await obstore.rename_async(self._objects, key, to)
        return await obstore.rename_async(self._objects, key, to)

    def _found(self, root: Path, key: str) -> Path:
        path = _within(root, key)
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise _leads_out(key)
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "no such recording")
        if path.stat().st_size > self.policy.bytes_max:
            raise RecordingTooLarge(self.policy.bytes_max)
        return path

    def _free(self, root: Path, key: str) -> None:
        """Raises InvalidRecordingKey if the key is a folder of other recordings, or has a recording for a folder."""
        path = _within(root, key)
        if path.is_dir():
            raise InvalidRecordingKey(f"{shown(key)} is a folder of recordings")
        for above in path.parents:
            if above == root:
                return
            # Asked once: a folder that was there may be gone by the second question, when the last recording in it left.
            if above.is_file():
                raise InvalidRecordingKey(f"{shown(key)} lies below a recording")

    def _listed(self, moment: datetime, folder: str, limit: int, after: str, stop: threading.Event) -> list[str]:
        # In a thread, as what is downloaded, and for the same reason.
        pages = takewhile(lambda _: not stop.is_set(), obstore.list(self._objects, prefix=folder))
        old = (found["path"] for page in pages for found in page if found["last_modified"] < moment)
        return nsmallest(limit, (key for key in old if key > after))

    def _download(self, key: str, path: Path, stop: threading.Event) -> None:
        # In a thread and synchronously: a stream of obstore's that is read asynchronously may still hand over its end while the interpreter
        # shuts down, which aborts the process.
        found = obstore.get(self._objects, key)
        if found.meta["size"] > self.policy.bytes_max:
            raise RecordingTooLarge(self.policy.bytes_max)
        with path.open("xb") as file:
            for piece in found.stream(min_chunk_size=_PIECE_BYTES):
                if stop.is_set():
                    return
                file.write(piece)


def _created(path: Path) -> FileIO:
    return path.open("xb", buffering=0)


def _write(file: FileIO, piece: bytearray, digest: hashlib._Hash) -> None:
    digest.update(piece)
    written = 0
    while written < len(piece):
        written += file.write(piece[written:])  # An unbuffered file may take less than it is given.


def _remove_empty_folders(root: Path, above: Path) -> None:
    with suppress(OSError):  # One that is not empty, or was just filled or removed by another, ends it.
        for folder in above.parents:
            if folder == root:
                return
            folder.rmdir()


def _within(root: Path, key: str) -> Path:
    path = root / key
    if not path.parent.resolve().is_relative_to(root):
        raise _leads_out(key)
    return path


def _leads_out(key: str) -> InvalidRecordingKey:
    return InvalidRecordingKey(f"{shown(key)} leads out of the folder of the recording store")
