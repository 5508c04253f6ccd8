"""The errors of obstore and of the file system, translated once at the adapter's edge into the domain's. A test enumerates obstore's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from obstore import exceptions

from adapters.recordings.keys import shown
from domain.errors import EmgSessionsError, InvalidRecordingKey, RecordingNotFound, StorageRefused, StorageUnavailable

# The first that fits; messages name no address, and nothing that the store said, which may hold credentials.
BY_ERROR: Final[tuple[tuple[type[Exception], type[EmgSessionsError], str], ...]] = (
    (
        exceptions.PermissionDeniedError,
        StorageRefused,
        "the recording store does not let us in; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and the rights on the bucket",
    ),
    (
        exceptions.UnauthenticatedError,
        StorageRefused,
        "the recording store needs credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (exceptions.InvalidPathError, InvalidRecordingKey, "the recording store cannot keep anything under this key"),
    (exceptions.NotSupportedError, StorageRefused, "the recording store in RECORDINGS_URL cannot do what is needed of it"),
    (exceptions.UnknownConfigurationKeyError, StorageRefused, "the recording store does not know one of the AWS_… settings"),
    (
        exceptions.BaseError,
        StorageUnavailable,
        "the recording store cannot be reached or failed; check RECORDINGS_URL and AWS_ENDPOINT_URL",
    ),
)
_BY_ERRNO: Final[dict[int, tuple[type[EmgSessionsError], str]]] = {
    errno.ENOSPC: (StorageUnavailable, "the disk of the recording store is full"),
    errno.EDQUOT: (StorageUnavailable, "the quota on the disk of the recording store is used up"),
    errno.EFBIG: (StorageUnavailable, "the disk of the recording store takes no file of this size"),
    errno.EACCES: (StorageRefused, "the folder of the recording store cannot be written or read; check DATA_DIR and its rights"),
    errno.EPERM: (StorageRefused, "the folder of the recording store cannot be written or read; check DATA_DIR and its rights"),
    errno.EROFS: (StorageRefused, "the disk of the recording store is read-only; check DATA_DIR"),
    errno.ENAMETOOLONG: (InvalidRecordingKey, "the recording store cannot keep anything under so long a key"),
}
_DISK: Final = (StorageUnavailable, "the disk of the recording store failed")
_NO_BUCKET: Final = "NoSuchBucket"


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Raises the domain's error for obstore's and the file system's. What is neither passes."""
    try:
        yield
    except FileNotFoundError as error:
        if _NO_BUCKET in str(error):
            raise StorageRefused("the bucket in RECORDINGS_URL does not exist; create it, or name another") from error
        raise RecordingNotFound(f"the recording store has no recording {shown(key)}") from error
    except TimeoutError as error:
        raise StorageUnavailable("the recording store did not answer in time") from error
    except (exceptions.BaseError, OSError, ValueError) as error:
        raise translate(error) from error


@contextmanager
def translated_write() -> Iterator[None]:
    """The same while something is written: what is not found then is no recording, but the store itself."""
    try:
        with translated(""):
            yield
    except RecordingNotFound as error:
        raise StorageUnavailable("the folder of the recording store vanished; check DATA_DIR and RECORDINGS_URL") from error


def translate(error: Exception) -> EmgSessionsError:
    """The domain's error for any other than "not found"."""
    if isinstance(error, OSError):
        kind, message = _BY_ERRNO.get(error.errno or 0, _DISK)
        return kind(message if error.errno is None else f"{message} ({errno.errorcode.get(error.errno, error.errno)})")
    for cause, kind, message in BY_ERROR:
        if isinstance(error, cause):
            return kind(message)
    return StorageUnavailable("the recording store failed")
