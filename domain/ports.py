"""What the core asks of the world. Adapters subclass these, so that a forgotten method fails when the object is built."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar, runtime_checkable
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.emg.recording import Recording, Signal
from domain.mvc import GivenMvc
from domain.session import SessionId, SessionState, TherapySession
from domain.signals import SignalPreview

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Coding = Literal["identity", "zstd", "gzip"]
"""How a document's bytes are coded, by its HTTP content coding."""


class Freshness(Enum):
    """How old an answer may be.

    FRESH: no older than the last write whose receipt said `fresh` before the read began.
    BOUNDED: the cheapest answer within the bound that the storage's configuration promises.
    """

    FRESH = "fresh"
    BOUNDED = "bounded"


class AnalyticsAnswer(NamedTuple):
    """Session analytics as read. `version` counts the writes of this session; `source` names the store that answered (postgres, memory,
    redis, or near: this process's own copy); `age_s` is the time since the answer left the truth: 0.0 when the truth itself answered.

    `stale`: the truth failed, and this is what a cache still had, past its promise; only where the configuration allows that.
    """

    analytics: SessionAnalytics
    version: int
    source: str
    age_s: float
    stale: bool = False


class DocumentAnswer(NamedTuple):
    """The same analytics as canonical JSON, in the coding in which they are at hand."""

    body: bytes
    coding: Coding
    version: int
    source: str
    age_s: float
    stale: bool = False


class VersionAnswer(NamedTuple):
    """Which version of the analytics there is; the rest as in AnalyticsAnswer."""

    version: int
    source: str
    age_s: float
    stale: bool = False


@dataclass(frozen=True, slots=True)
class SaveReceipt:
    """`changed` is False if the same content was already there. `fresh`: every FRESH read that begins now returns this version or newer."""

    version: int
    changed: bool
    fresh: bool


@dataclass(frozen=True, slots=True)
class DeleteReceipt:
    """`version` is the deletion's own: a session analysed again continues from it."""

    version: int
    fresh: bool


@runtime_checkable
class SessionAnalyticsRepository(Protocol):
    """Keeps the session analytics and answers for them. Safe for any number of concurrent callers.

    Every method raises StorageError (domain/errors.py) if the truth cannot be asked. A cache that fails is no error: the truth answers.
    `at_least` is a version the caller has seen: no cache answers with an older one (read-your-writes, monotonic reads). The truth's own is
    the newest there is, also where it has gone back behind that version, as after a restore from a backup.
    """

    @abstractmethod
    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        """The analytics, or None if the session was never analysed or its analytics were deleted."""

    @abstractmethod
    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        """Those that exist, by id, in one round trip to each store, whatever their number. Repeated ids are asked once."""

    @abstractmethod
    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        """The analytics as stored bytes, for whoever passes them on undecoded; None as for `get`."""

    @abstractmethod
    async def get_version(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> VersionAnswer | None:
        """The version that `get` would answer now, for whoever has a document already. Where the answer is at hand no document is read;
        None as for `get`."""

    @abstractmethod
    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        """Stores the analytics whole or not at all. Saving equal content again changes nothing and keeps the version."""

    @abstractmethod
    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        """Erases the analytics from every store; only the bare version stays. None if there was nothing."""


@dataclass(frozen=True, slots=True)
class AnalyticsChange:
    """One committed write: the session's analytics have this version (or are gone with it)."""

    session_id: SessionId
    version: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change feed tells: every write committed before `position` and not before the position asked for; some may be told again.

    `changes` None means the feed cannot say what changed: everything may have.
    """

    position: int
    changes: tuple[AnalyticsChange, ...] | None


@runtime_checkable
class ChangeFeed(Protocol):
    """Tells a cache what was written to the truth, by whomever. Raises StorageError as the repository does."""

    @abstractmethod
    async def store_id(self) -> UUID:
        """The identity of the truth: two stores that may differ never share it."""

    @abstractmethod
    async def changes_since(self, position: int | None) -> Changes:
        """The writes since a position this feed gave (None: since nothing known), in one round trip.

        Complete: a write that any reader of the truth could have seen before the call is told now or was told before. `changes` is None
        if the position is None, unknown, or older than the log.
        """

    @abstractmethod
    async def versions_of(self, session_ids: Collection[SessionId]) -> dict[SessionId, int]:
        """How often each session was written up to now, deletions included, in one round trip; those never written are left out.

        What a cache holds is outdated if it has a lower version. Repeated ids are asked once.
        """

    @abstractmethod
    def listening(self, on_write: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Calls `on_write` soon after writes are committed, as long as the context lasts. A hint: it may come late, twice or not at all.

        Opening it neither waits nor fails: where there is nothing to listen to now, it goes on trying.
        """


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """Which sessions to list. None: any. `patients` is what the asker may see: an empty set sees nothing, None sees everything.

    Recorded from (inclusive) and before (exclusive), in local time; sessions without a time of recording are in no such range.
    """

    patients: frozenset[str] | None = None
    patient_code: str | None = None
    state: SessionState | None = None
    recorded_from: datetime | None = None
    recorded_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class PageKey:
    """Where a page of sessions ended; the next begins after it."""

    registered_at: datetime
    session_id: SessionId


@dataclass(frozen=True, slots=True)
class PatientSessions:
    """A patient's sessions in brief, duplicates left out. Local time of the last recording; None if no recording of theirs says when."""

    patient_code: str
    sessions: int
    last_recorded_at: datetime | None
    last_registered_at: datetime


@runtime_checkable
class SessionRegistry(Protocol):
    """Knows which sessions were recorded, and what became of them. Raises StorageError as the repository does.

    A session's recording is known by its digest: two sessions never have the same one.
    """

    @abstractmethod
    async def register(self, session: TherapySession) -> TherapySession:
        """Registers a session once: if its id or its digest is known already, what is known is returned and nothing changes."""

    @abstractmethod
    async def find(self, session_id: SessionId) -> TherapySession | None:
        """The session, or None if it was never registered."""

    @abstractmethod
    async def find_by_recording(self, recording_sha256: str) -> TherapySession | None:
        """The session whose recording has this digest, or None."""

    @abstractmethod
    async def recent(self, limit: int) -> Sequence[TherapySession]:
        """The last registered sessions, newest first, `limit` at most."""

    @abstractmethod
    async def page(self, query: SessionQuery, *, limit: int, after: PageKey | None = None) -> Sequence[TherapySession]:
        """The sessions that a query matches, newest registered first, `limit` at most, from after a key on. Duplicates are left out."""

    @abstractmethod
    async def patients(self, among: frozenset[str] | None, *, limit: int, after: str | None = None) -> Sequence[PatientSessions]:
        """The patients who have sessions, `limit` at most, from after a code on, in an order of codes that is the store's and stays.

        `among` is whom the asker may see, as in SessionQuery.
        """

    @abstractmethod
    async def naming(self, recording_keys: Collection[str]) -> frozenset[str]:
        """Those of the keys that sessions name as where their recordings are."""

    @abstractmethod
    async def identify(self, session_id: SessionId, recording_sha256: str, size_bytes: int) -> TherapySession | None:
        """Notes the digest of a session's recording; the session as it is then, or None if it is not registered (any more).

        If another session has this digest, this one becomes its duplicate: state and `same_as` say so. One that failed gives its digest
        away instead: what it could not do, another may. Who was a duplicate and gets the digest is none any more, and is processing.
        """

    @abstractmethod
    async def duplicates_of(self, session_id: SessionId) -> Sequence[TherapySession]:
        """The sessions whose recording has the bytes of this one's, by `same_as`."""

    @abstractmethod
    async def keep(self, session_id: SessionId, recording_key: str) -> TherapySession | None:
        """Notes where the recording is kept of a session that was processed from a file; the session as it is then.

        A key that is known stays. None if the session is not registered.
        """

    @abstractmethod
    async def attribute(self, session_id: SessionId, patient_code: str) -> TherapySession | None:
        """Notes whose session it is, if it has no patient; the session as it is then.

        A patient who is known stays. None if the session is not registered.
        """

    @abstractmethod
    async def note(
        self,
        session_id: SessionId,
        state: SessionState,
        *,
        progress: float = 0.0,
        failure: str | None = None,
        recorded_at: datetime | None = None,
    ) -> bool:
        """Notes what became of a session; a `recorded_at` that is None leaves what is known. False if it is not registered (any more).

        A session that is settled stays so, whatever a late worker says (domain/session.py, stays_settled).
        """

    @abstractmethod
    async def remeasure(self, session_id: SessionId, mvc: GivenMvc) -> TherapySession | None:
        """Gives a session MVC values in place of those it had, for an analysis that is under way; the session as it is then.

        With other values it is processing, without progress or failure, unless it is a duplicate, which stays one. A session that has
        these values already stays as it is. None if it is not registered.
        """

    @abstractmethod
    async def complete(self, session_id: SessionId, mvc: GivenMvc | None, *, recorded_at: datetime | None) -> TherapySession | None:
        """Notes that a session is completed, by an analysis with these MVC values; a `recorded_at` that is None leaves what is known.

        If it was given other values meanwhile, it keeps its state: what was analysed is outdated. The session as it is then, whose values
        tell, or None if it is not registered (any more).
        """

    @abstractmethod
    async def forget(self, session_id: SessionId) -> bool:
        """Erases a session; False if it was not registered."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A session as the registry knows it now. `new` is False if it was known before."""

    session: TherapySession
    new: bool


@runtime_checkable
class ProcessingQueue(Protocol):
    """Recordings that wait to be processed, by any worker, at least once each. Raises StorageError as the repository does."""

    @abstractmethod
    async def submit(self, session: TherapySession) -> Submitted:
        """Registers a session and queues its processing, both or neither. A session that is known already, by its id or its digest, is
        returned as it is, and nothing is queued; unless it failed: then it is received and queued again, with the MVC values it had."""

    @abstractmethod
    async def remeasure(self, session_id: SessionId, mvc: GivenMvc) -> TherapySession | None:
        """Gives a session MVC values in place of those it had, and queues it to be analysed anew, both or neither; the session then.

        It is received again, unless it is a duplicate: that stays one, and hands the values on when it is processed. A session that has
        these values already is returned as it is, and nothing is queued. None if it is not registered.
        """

    @abstractmethod
    async def depth(self) -> int:
        """How many sessions wait for a worker."""


class SessionProcessing(Protocol):
    """What workers do with a queued session."""

    @abstractmethod
    async def process_session(self, session_id: SessionId) -> None:
        """Processes a session, once or again: what is done already is not done twice. Raises what goes wrong (domain/errors.py)."""

    @abstractmethod
    async def give_up(self, session_id: SessionId, failure: str) -> None:
        """Notes that a session will not be tried again, and why."""


@runtime_checkable
class ProcessingWorker(Protocol):
    """Processes what is queued. Any number of them share the work, in one process or in many."""

    @abstractmethod
    async def run(self, processing: SessionProcessing, *, stop: asyncio.Event) -> None:
        """Processes sessions until `stop` is set: then takes nothing new, and returns when what runs has ended or the drain's time is up.

        What is not ended then, or ends with an error that may pass (domain/errors.py, may_pass), is tried again, by this worker or
        another, a bounded number of times. After that, and after any other error, the session is given up. Cancellation ends what runs.
        """


@dataclass(frozen=True, slots=True)
class StoredRecording:
    """A recording as the store keeps it."""

    key: str
    recording_sha256: str
    size_bytes: int


@runtime_checkable
class RecordingStore(Protocol):
    """Keeps recordings under keys: relative paths of printable characters, of which no part is empty or begins with a dot.

    Raises InvalidRecordingKey for any other key, RecordingNotFound, RecordingTooLarge, and StorageUnavailable if the store fails.
    """

    @abstractmethod
    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> StoredRecording:
        """Stores a recording whole or not at all, while it arrives; what was there before is replaced.

        Raises RecordingTooLarge as soon as more has arrived than a recording may have.
        """

    @abstractmethod
    def fetched(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The recording as a local file, for as long as the context lasts; to be read only."""

    @abstractmethod
    async def move(self, key: str, to: str) -> None:
        """Gives a recording another key."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Erases a recording. Nothing happens if it is not there."""

    @abstractmethod
    async def stored_at(self, key: str) -> datetime | None:
        """Since when a recording is there, or None if it is not. In S3 a recording that is moved is there since then."""

    @abstractmethod
    async def stored_before(self, moment: datetime, *, folder: str, limit: int, after: str = "") -> Sequence[str]:
        """The keys in a folder of recordings that were there before a moment; sorted, `limit` at most, from after a key on."""


@runtime_checkable
class PatientAssignments(Protocol):
    """Which therapist treats which patient. One therapist a patient; therapists are known by the subject of their tokens."""

    @abstractmethod
    async def patients_of(self, therapist: str) -> frozenset[str]:
        """The codes of the patients assigned to a therapist."""

    @abstractmethod
    async def assign(self, patient_code: str, therapist: str) -> None:
        """Assigns a patient, whoever treated them before."""

    @abstractmethod
    async def is_open_to(self, patient_code: str, therapist: str) -> bool:
        """Whether a therapist may bring recordings of a patient: of their own, and of one who is new. New is who is assigned to nobody and
        of whom no session is registered, not even a duplicate."""

    @abstractmethod
    async def claim(self, patient_code: str, therapist: str) -> bool:
        """Assigns a patient who is new; whether the patient is the therapist's then. Of several at once who claim a patient one succeeds.

        A patient who is not new stays as they were: else whoever guesses a code would get the sessions that there are.
        """


@runtime_checkable
class RecordingReader(Protocol):
    """Reads recordings. Must be picklable: reading happens in worker processes.

    `file_name` is the recording's name where the file has another one, as in a store; None: the file's own. Errors name the recording.
    """

    @abstractmethod
    def digest(self, path: Path, *, file_name: str | None = None) -> str:
        """The SHA-256 of the file's bytes, as 64 hex digits: the recording's identity. Blocks. Raises InvalidRecording."""

    @abstractmethod
    def read(self, path: Path, parameters: AnalysisParameters, *, file_name: str | None = None) -> Recording:
        """The recording in a file; its facts have its name, and the moment of recording that the name tells. Raises InvalidRecording naming
        the recording and the reason. Blocks."""


@runtime_checkable
class Workers(Protocol):
    """Runs functions that keep a processor busy, off the event loop."""

    @abstractmethod
    async def run(self, file_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises. Function, arguments and result must be picklable. `file_name` names the work in errors.

        Raises AnalysisFailed if the worker died or ran out of time; other work is not affected. Cancellation ends the work.
        """


@runtime_checkable
class SignalReducer(Protocol):
    """Leaves out the points of a signal that a plot of it does not need. Must be picklable: it works in worker processes."""

    @abstractmethod
    def reduce(self, values: Signal, points: int) -> NDArray[np.intp]:
        """Which of the values, shape (samples,), to keep: rising, `points` at most, and of every stretch its least and its greatest.

        Values that are no numbers are left out wherever there are others.
        """


@runtime_checkable
class SignalPreviews(Protocol):
    """Remembers previews for a while. What is remembered is right for ever; a failure to remember or to find costs making it again.

    Never raises for a store that fails.
    """

    @abstractmethod
    async def find(self, session_id: SessionId, key: str) -> SignalPreview | None:
        """The preview with this key, or None."""

    @abstractmethod
    async def keep(self, session_id: SessionId, preview: SignalPreview) -> None:
        """Remembers a preview, unless its session was erased since it began to be made, PREVIEW_S_MAX ago at most."""

    @abstractmethod
    async def erase(self, session_id: SessionId) -> bool:
        """Forgets all previews of a session, for good. False: not yet, as the store does not answer; it is done once it does."""


class Landed(Protocol[T_co]):
    """What a piece of work brought."""

    @property
    @abstractmethod
    def result(self) -> T_co:
        """Its result."""

    @property
    @abstractmethod
    def joined(self) -> bool:
        """Whether it had begun before this caller came."""


class SharedWork(Protocol[T]):
    """One piece of work for many who want it."""

    @abstractmethod
    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> Landed[T]:
        """What the work under way for this key brings, or this work, begun now. Failures reach everybody who waits."""


HealthStatus = Literal["healthy", "degraded", "unhealthy"]


@dataclass(frozen=True, slots=True)
class PartHealth:
    """How a part of the system does. healthy: as promised; degraded: it answers, and something is amiss; unhealthy: it does not answer.

    `reason` is a sentence for an operator, None if healthy. `facts` are figures by name, their units last in the names; no addresses.
    """

    status: HealthStatus
    reason: str | None = None
    facts: Mapping[str, str | int | float | None] = field(default_factory=dict)


@runtime_checkable
class WatchedPart(Protocol):
    """A part of the system that can be looked at."""

    @abstractmethod
    async def look(self) -> PartHealth:
        """How it does now, in a round trip or two. May raise StorageError: then it is unhealthy."""


@runtime_checkable
class Traces(Protocol):
    """Tells a collector what was done as part of what, and how long it took. Never raises, never waits, and may do nothing at all."""

    @abstractmethod
    def span(self, name: str, *, within: str | None = None, **facts: str | int | float) -> AbstractContextManager[None]:
        """Something that is done, for as long as the context lasts: part of what surrounds it, or of `within`, as `here` gave it elsewhere.

        `facts` hold no patient data. What is raised inside ends the span as failed, by its type's name, and goes on.
        """

    @abstractmethod
    def here(self) -> str | None:
        """What is being done now, as a text (W3C `traceparent`) that may travel to another process; None if nothing is traced."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller may still do: `remaining` of `limit` in a window of `window_s`, which begins anew in `reset_s` seconds."""

    granted: bool
    limit: int
    remaining: int
    reset_s: int
    window_s: int


@runtime_checkable
class RateLimit(Protocol):
    """Bounds how often somebody may do something. Raises nothing: where it cannot count, it counts less exactly."""

    @abstractmethod
    async def take(self, caller: str) -> Allowance:
        """One more by this caller, if it is granted."""


class ProcessingMeter(Protocol):
    """Takes note of what is processed. Never raises, never waits."""

    @abstractmethod
    def job_ended(self, outcome: str) -> None:
        """An attempt at a session ended: completed, failed (it may be tried again), or the session was given_up."""

    @abstractmethod
    def analysed(self, seconds: float) -> None:
        """A recording was read and analysed."""
