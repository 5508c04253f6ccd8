"""Which keys there may be: those that mean the same in a folder and in S3, and lead nowhere else."""

from __future__ import annotations

import re
from typing import Final

from domain.errors import InvalidRecordingKey

_KEY_BYTES_MAX: Final = 1024  # S3's limit
_PART_BYTES_MAX: Final = 255  # that of file systems
_STAGED: Final = re.compile(r"#\d+$")  # what obstore calls files that it has not finished writing
_DRIVE: Final = re.compile(r"[A-Za-z][:|]$")  # what obstore's paths take for the drive of another system, and for a folder
_SHOWN_MAX: Final = 100


def checked(key: str) -> str:
    """The key itself. Raises InvalidRecordingKey for any that is not a relative path of printable, visible names."""
    if problem := _problem(key):
        raise InvalidRecordingKey(f"{shown(key)} cannot be the key of a recording: {problem}")
    return key


def shown(key: str) -> str:
    """The key as messages show it: without control characters, and not longer than a line."""
    return repr(key if len(key) <= _SHOWN_MAX else f"{key[:_SHOWN_MAX]}…")


def _problem(key: str) -> str | None:
    if not key.isprintable():  # Lone surrogates, NUL, line ends and marks that turn the direction of writing are not printable.
        return "it has characters that cannot be printed"
    if "\\" in key:
        return "it has a backslash"
    if len(key.encode()) > _KEY_BYTES_MAX:
        return f"it has more than {_KEY_BYTES_MAX} bytes"
    for part in key.split("/"):
        if not part:
            return "it is empty, absolute, or has an empty part"
        if part.startswith("."):
            return "it has a part that begins with a dot"
        if len(part.encode()) > _PART_BYTES_MAX:
            return f"it has a part of more than {_PART_BYTES_MAX} bytes"
    if _STAGED.search(key):
        return "it ends in # and a number"
    if _DRIVE.search(key):
        return f"it ends in {key[-1]}"
    return None
