"""Files under other names than they are stored under."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LINK_FOLDERS: Final = "emg-sessions-link-"
"""How the folders of links begin, below the temporary folder."""
LINK_KEPT_S: Final = 24 * 3600.0
"""Longer than any recording is processed: an older link was left by somebody who was killed."""


@contextmanager
def under_name(path: Path, file_name: str) -> Iterator[Path]:
    """The file under the name that its recording has: the name tells when it was recorded, and errors name it."""
    if path.name == file_name:
        yield path
        return
    _remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=LINK_FOLDERS) as folder:
        link = Path(folder) / Path(file_name).name
        link.symlink_to(path.absolute())
        yield link


def _remove_leftovers() -> None:
    """The links alone: what they lead to belongs to others."""
    for folder in Path(tempfile.gettempdir()).glob(f"{LINK_FOLDERS}*"):
        with suppress(OSError):
            if time.time() - folder.lstat().st_mtime > LINK_KEPT_S:
                shutil.rmtree(folder)
