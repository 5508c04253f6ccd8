"""Where recordings may be: a folder, an S3 bucket, or memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.store import LocalStore, MemoryStore, ObjectStore, S3Store

from adapters.recordings.keys import checked
from adapters.recordings.policy import RecordingPolicy
from adapters.recordings.scratch import Scratch
from domain.errors import InvalidRecordingKey, InvalidSettings


@dataclass(frozen=True, slots=True)
class Place:
    """A store of objects, and where temporary files go. `root` is the folder of a local store, else None."""

    objects: ObjectStore
    scratch: Scratch
    root: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class S3Access:
    """What S3 is asked with. None: as the environment of the process says, in the AWS_… variables that obstore knows."""

    access_key_id: str | None = None
    secret_access_key: str | None = None
    region: str | None = None
    endpoint: str | None = None


def place_at(url: str | None, data_dir: Path, access: S3Access, policy: RecordingPolicy) -> Place:
    """The place that RECORDINGS_URL names: s3://bucket/prefix, file:///folder, memory://, or, if None, `data_dir`/recordings. Blocks.

    Raises InvalidSettings for anything else, and for a folder that cannot be made.
    """
    if url is None:
        return _folder(data_dir / "recordings", "set DATA_DIR to a folder of yours")
    address = urlsplit(url)
    if "@" in address.netloc:
        raise InvalidSettings("RECORDINGS_URL must not hold credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    match address.scheme:
        case "s3" if address.netloc:
            return Place(_s3(address.netloc, unquote(address.path), access, policy), Scratch(data_dir / "recordings.scratch"))
        case "file" if not address.netloc and address.path.startswith("/"):
            return _folder(Path(unquote(address.path)), "check RECORDINGS_URL")
        case "memory" if not address.netloc and address.path in ("", "/"):
            return memory_place(data_dir / "recordings.scratch")
        case _:
            raise InvalidSettings("RECORDINGS_URL must look like s3://bucket/prefix or file:///folder")


def memory_place(scratch: Path) -> Place:
    """A place that ends with the process."""
    return Place(MemoryStore(), Scratch(scratch))


def _folder(root: Path, mended_by: str) -> Place:
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        resolved = root.resolve(strict=True)
    except OSError as error:
        raise InvalidSettings(f"recordings cannot be kept in {root} ({error.strerror}); {mended_by}") from error
    # The scratch is below the root, for only within a file system does a file get its name at one moment. No key begins with a dot.
    return Place(LocalStore(resolved, automatic_cleanup=True), Scratch(resolved / ".scratch"), resolved)


def _s3(bucket: str, prefix: str, access: S3Access, policy: RecordingPolicy) -> S3Store:
    prefix = prefix.strip("/")
    config: dict[str, Any] = {
        "access_key_id": access.access_key_id,
        "secret_access_key": access.secret_access_key,
        "region": access.region,
        "endpoint": access.endpoint,
    }
    try:
        return S3Store(
            bucket,
            prefix=checked(prefix) if prefix else None,
            client_options={
                "connect_timeout": timedelta(seconds=policy.connect_s),
                "timeout": timedelta(seconds=policy.transfer_s),
                **({"allow_http": True} if (access.endpoint or "").startswith("http://") else {}),
            },
            disable_bulk_delete=True,  # One at a time is all that is asked, and every store understands it.
            retry_config={"max_retries": policy.retries, "retry_timeout": timedelta(seconds=policy.transfer_s)},
            **{name: value for name, value in config.items() if value is not None},
        )
    except InvalidRecordingKey as error:
        raise InvalidSettings(f"RECORDINGS_URL: {error}") from error
    except Exception as error:  # obstore raises several kinds for configurations that it cannot use.
        raise InvalidSettings("the recording store cannot be set up; check RECORDINGS_URL and the AWS_… settings") from error
