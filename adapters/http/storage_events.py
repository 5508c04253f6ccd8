"""What a Supabase storage webhook tells: rows of `storage.objects` that came, changed or went."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from typing import Annotated, Any, Final

import msgspec

from domain.errors import InvalidMvc
from domain.mvc import GivenMvc, parse_mvc
from domain.patient import PATIENT_CODE

NAME_LENGTH_MAX: Final = 1024

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]


class MalformedEvent(Exception):
    """The body is no storage event. The message says where, and repeats nothing of it."""


class ObjectMetadata(msgspec.Struct, frozen=True):
    """What the storage knows about an object's contents."""

    e_tag: str | None = msgspec.field(default=None, name="eTag")
    size: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class UserMetadata(msgspec.Struct, frozen=True):
    """What whoever uploaded an object says of it. Of any kind: it is looked at once the object is known to be a recording."""

    mvc: Any = None


class ObjectRow(msgspec.Struct, frozen=True):
    """A row of `storage.objects`."""

    name: _Text
    bucket_id: _Text
    id: str | None = None
    version: str | None = None
    metadata: ObjectMetadata | None = None
    user_metadata: UserMetadata | None = None

    @property
    def revision(self) -> str:
        """What tells the contents of one name apart: the ETag, which is made of them, else the version, else the row's id."""
        return (self.metadata.e_tag if self.metadata else None) or self.version or self.id or ""

    @property
    def contents(self) -> tuple[str, str, str]:
        """Which contents lie under which name."""
        return self.bucket_id, self.name, self.revision

    @property
    def mvc(self) -> object:
        """What is said of maximum voluntary contractions."""
        return None if self.user_metadata is None else self.user_metadata.mvc


class StorageEvent(msgspec.Struct, frozen=True):
    """One event, in the form in which Supabase's database webhooks tell of it. Fields that are not known are no mistake."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    table: _Text
    schema: _Text
    record: ObjectRow | None = None
    old_record: ObjectRow | None = None


@dataclass(frozen=True, slots=True)
class RecordingArrived:
    """A recording is in the storage, whole."""

    bucket: str
    name: str
    revision: str
    size_bytes: int | None
    mvc: GivenMvc | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing is to be done, because of this."""

    reason: str


@dataclass(frozen=True, slots=True)
class Recordings:
    """Which objects are recordings: those of a bucket (None: of any) whose names match a pattern, in either case of letters.

    In the pattern `*` stands for any characters, folders included, and `?` for one.
    """

    bucket: str | None = None
    name_pattern: str = "*.c3d"

    def matches(self, name: str) -> bool:
        """Whether a name is one of theirs."""
        return re.match(translate(self.name_pattern), name, re.IGNORECASE) is not None

    def why_not(self, row: ObjectRow) -> str | None:
        """Why an object is none of them; None if it is. Raises MalformedEvent for a name that leads somewhere else."""
        if self.bucket is not None and row.bucket_id != self.bucket:
            return "the object is in another bucket than WEBHOOK_BUCKET"
        if not is_plain_path(row.name) or not is_plain_path(row.bucket_id) or "/" in row.bucket_id:
            raise MalformedEvent("the object's name must be a path of printable characters, without empty parts, `.`, `..` and backslashes")
        if not self.matches(row.name):
            return "the object's name does not match WEBHOOK_NAME_PATTERN"
        return None


def is_plain_path(name: str) -> bool:
    """Whether a name is a path that leads down from where it is put, and nowhere else."""
    return name.isprintable() and "\\" not in name and not any(part in {"", ".", ".."} for part in name.split("/"))


def patient_of(name: str, pattern: str) -> str | None:
    """The patient's code: the first folder of an object's name, where all of it matches the pattern (a regular expression) and is one
    that an upload could give. The pattern is tried on such folders alone, so that none can keep it busy for long.
    """
    folder, slash, _ = name.partition("/")
    return folder if slash and PATIENT_CODE.fullmatch(folder) and re.fullmatch(pattern, folder) else None


def parse_event(body: bytes) -> StorageEvent:
    """The event that a body tells. Raises MalformedEvent."""
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedEvent(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedEvent("the body is not JSON") from None
    except RecursionError:
        raise MalformedEvent("the body is nested too deeply") from None


def judge(event: StorageEvent, recordings: Recordings) -> RecordingArrived | Ignored:
    """What an event means for us. Raises MalformedEvent if it tells of an object's arrival and not of which object, or gives MVC
    values that are none."""
    if (event.schema, event.table) != ("storage", "objects"):
        return Ignored("the event is not about storage.objects")
    if event.type not in {"INSERT", "UPDATE"}:
        return Ignored("only INSERT and UPDATE tell of recordings; erasing a session is DELETE /api/v1/sessions/{id}")
    row = event.record
    if row is None:
        raise MalformedEvent(f"an event of type {event.type} must have a `record`")
    why_not = recordings.why_not(row)
    if why_not is not None:
        return Ignored(why_not)
    # An object that was renamed counts as arrived: under its old name it may not have been a recording, or not have been read yet.
    before = event.old_record if event.type == "UPDATE" else None
    if before is not None and before.contents == row.contents and before.mvc == row.mvc:
        return Ignored("the object's name and contents are the same as before")
    return RecordingArrived(row.bucket_id, row.name, row.revision, row.metadata.size if row.metadata else None, _mvc_of(row))


def _mvc_of(row: ObjectRow) -> GivenMvc | None:
    if row.mvc is None:
        return None
    if not isinstance(row.mvc, str):
        raise MalformedEvent("record.user_metadata.mvc must be a text such as CH1=0.0003,CH2=0.00041")
    try:
        return parse_mvc(row.mvc)
    except InvalidMvc as error:
        raise MalformedEvent(f"record.user_metadata.mvc must look like CH1=0.0003,CH2=0.00041: {error}") from None


_DECODER: Final[msgspec.json.Decoder[StorageEvent]] = msgspec.json.Decoder(StorageEvent)
