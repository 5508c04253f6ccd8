"""A recording store for tests: a folder, and nothing around it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from domain.errors import InvalidRecordingKey, RecordingNotFound
from domain.ports import RecordingStore, StoredRecording


class FolderRecordingStore(RecordingStore):
    """Keeps each recording as a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> StoredRecording:
        path, digest, size_bytes = self.path(key), hashlib.sha256(), 0
        arriving = path.with_name(f".{path.name}.arriving")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with arriving.open("wb") as file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
                    digest.update(chunk)
                    size_bytes += len(chunk)
            arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)
        return StoredRecording(key, digest.hexdigest(), size_bytes)

    @asynccontextmanager
    async def fetched(self, key: str) -> AsyncIterator[Path]:
        path = self.path(key)
        if not path.is_file():
            raise RecordingNotFound(f"there is no recording {key!r}")
        yield path

    async def move(self, key: str, to: str) -> None:
        path, target = self.path(key), self.path(to)
        if not path.is_file():
            raise RecordingNotFound(f"there is no recording {key!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)

    async def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def path(self, key: str) -> Path:
        if not key or any(part in {"", ".", ".."} for part in key.split("/")):
            raise InvalidRecordingKey(f"{key!r} is no key")
        return self.folder / key

    def keys(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}
