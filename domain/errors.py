"""Everything that can go wrong, as one tree.

EmgSessionsError
├── InvalidRecording           a recording that cannot be analysed; nothing of it is stored
├── InvalidRecordingKey        a name under which no recording may be stored
├── RecordingTooLarge          more bytes than a recording may have; nothing of it is stored
├── RecordingNotFound          the recording store has no such recording
├── InvalidSessionId           a text that is no session id
├── UnknownChannel             the session has no such channel
├── InvalidSignalRequest       a window, kind or number of points that no signal can be shown with
├── Overloaded                 too much is being asked at once
├── InvalidMvc                 maximum voluntary contractions that are none
├── InvalidPatientCode         a text that is no patient's code
├── OtherPatient               a recording whose session has another patient than was given
├── InvalidParameters          analysis parameters that contradict each other or the recording
├── InvalidSettings            a setting that is missing, malformed or out of range
├── AnalysisFailed             the analysis ended without an answer (crashed, out of time); the recording may be sound
└── StorageError               the storage of session analytics did not do what was asked
    ├── StorageUnavailable     it cannot be reached, or does not answer in time: try again
    ├── StorageRefused         it answered, and will not let us in (credentials, rights, no such database): needs a person
    ├── StorageNotReady        it is reachable but its schema is missing or older than this program
    └── StoredDataInvalid      what it holds cannot be read as session analytics

Every message is one sentence for a user: what was wrong, with what, and which setting or command mends it. Messages carry no patient data
and no credentials; a file's name is the recording's identity and may appear.
"""

from __future__ import annotations


class EmgSessionsError(Exception):
    """The root: whoever catches this catches every failure this program foresaw."""


class RecordingError(EmgSessionsError):
    """Something failed of the named recording, for the given reason."""

    def __init__(self, file_name: str, reason: str) -> None:
        super().__init__(file_name, reason)
        self.file_name = file_name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.file_name}: {self.reason}"


class InvalidRecording(RecordingError):
    """The recording cannot be analysed."""


class InvalidRecordingKey(EmgSessionsError):
    """No recording may be stored under this name."""


class RecordingTooLarge(EmgSessionsError):
    """There are more bytes than a recording may have. `bytes_max` is the limit."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        self.bytes_max = bytes_max

    def __str__(self) -> str:
        return f"a recording may have {self.bytes_max / 1e6:g} MB at most (RECORDING_MEGABYTES_MAX)"


class RecordingNotFound(EmgSessionsError):
    """The recording store has no recording under this key."""


class InvalidSessionId(EmgSessionsError):
    """The text is no session id."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 60 else f"{self.text[:60]}…"
        return f"{shown!r} is not a session id; one looks like 6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"


class UnknownChannel(EmgSessionsError):
    """The session has no channel of this name. `names` are those there are."""

    _SHOWN_MAX = 20

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.names = names

    def __str__(self) -> str:
        more = len(self.names) - self._SHOWN_MAX
        shown = ", ".join(repr(name[:40]) for name in self.names[: self._SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
        return f"the session has no such channel; it has {shown}"


class InvalidSignalRequest(EmgSessionsError):
    """No signal can be shown so; the message names the parameter, and what it may be."""


class Overloaded(EmgSessionsError):
    """Too much is being asked at once: try again."""


class InvalidMvc(EmgSessionsError):
    """What was given as maximum voluntary contractions is none. The message repeats nothing of it; `found` is the part that is wrong."""

    def __init__(self, reason: str, found: str | None = None) -> None:
        super().__init__(reason, found)
        self.reason = reason
        self.found = found

    def __str__(self) -> str:
        return self.reason


class InvalidPatientCode(EmgSessionsError):
    """The text is no patient's code; the message does not repeat it."""

    def __str__(self) -> str:
        return "a patient's code has 1 to 64 letters, digits, dots, hyphens and underscores, and begins with one of the former"


class OtherPatient(RecordingError):
    """The recording is known, and its session has another patient than was given. Nothing is changed."""

    def __init__(self, file_name: str) -> None:
        super().__init__(file_name, "its session has another patient, and keeps it; give no patient, or erase the session first")

    def __reduce__(self) -> tuple[type[OtherPatient], tuple[str]]:
        return type(self), (self.file_name,)


class InvalidParameters(EmgSessionsError):
    """The analysis parameters contradict each other or the recording."""


class InvalidSettings(EmgSessionsError):
    """A setting is missing, malformed or out of range; the message names it."""


class AnalysisFailed(RecordingError):
    """The analysis ended without an answer."""


class StorageError(EmgSessionsError):
    """The storage of session analytics did not do what was asked."""


class StorageUnavailable(StorageError):
    """The storage cannot be reached or does not answer in time."""


class StorageRefused(StorageError):
    """The storage answered, and does not let us in."""


class StorageNotReady(StorageError):
    """The storage is reachable, but its schema is missing or older than this program."""


class StoredDataInvalid(StorageError):
    """What the storage holds cannot be read as session analytics."""


def may_pass(error: Exception) -> bool:
    """Whether processing the same recording again may go well. What is wrong with the recording itself stays wrong."""
    return not isinstance(error, InvalidRecording | InvalidRecordingKey | RecordingTooLarge | InvalidParameters)
