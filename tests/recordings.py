"""Recordings for tests, and a store for them in a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from adapters.recordings import ObstoreRecordingStore, RecordingPolicy, S3Access, place_at


class FolderStore(ObstoreRecordingStore):
    """The store as it is by default, and a look at what it keeps."""

    def __init__(self, data_dir: Path) -> None:
        policy = RecordingPolicy(bytes_max=50_000_000)
        super().__init__(place_at(None, data_dir, S3Access(), policy), policy)
        self.folder = data_dir / "recordings"

    def left(self) -> set[str]:
        """The keys of all that is stored, temporary files too."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}

    async def keep(self, key: str, body: bytes) -> None:
        """Puts bytes there, past everything else."""
        await self.put(key, in_chunks(body))


async def in_chunks(body: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    """A body as it arrives."""
    for start in range(0, len(body), size):
        yield body[start : start + size]
