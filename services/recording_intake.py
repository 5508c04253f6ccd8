"""Takes recordings in: uploads, which are stored first, and objects that are in the store already."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from domain.errors import InvalidRecording, StorageError
from domain.mvc import GivenMvc
from domain.ports import ProcessingQueue, RecordingStore, SessionRegistry, StoredRecording
from domain.session import SessionId, SessionState, TherapySession, session_id_of, session_id_of_object

_C3D_MARK: Final = 0x50
_FILE_NAME_BYTES_MAX: Final = 200  # Of the 255 that a file system allows.


@dataclass(frozen=True, slots=True)
class Received:
    """A session whose recording has arrived. `new` is False if it was known: told again, or the same bytes. `remeasured`: it was known, and
    is analysed anew with other MVC values."""

    session: TherapySession
    new: bool
    remeasured: bool = False


class RecordingIntake:
    """Registers each recording that arrives, once, and queues its processing. Nothing is half-stored, whatever fails or is cancelled."""

    def __init__(
        self,
        *,
        store: RecordingStore,
        registry: SessionRegistry,
        queue: ProcessingQueue,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._store = store
        self._registry = registry
        self._queue = queue
        self._clock = clock
        self._new_id = new_id

    async def receive(
        self,
        chunks: AsyncIterable[bytes],
        *,
        file_name: str,
        patient_code: str | None,
        mvc: GivenMvc | None = None,
        claim: Callable[[], Awaitable[None]] | None = None,
    ) -> Received:
        """Stores an upload while it arrives, and queues it.

        Bytes that are known are the known session; its name and MVC values stay as they were: whether whoever uploads may change these is
        to be seen first, and then `remeasure` does. A session without a patient gets the one given; one that has another keeps it, and then
        nothing else is done. `claim` is awaited when the upload is whole, before its patient becomes a session's; if it raises, nothing is
        left of the upload. Raises InvalidRecording as soon as the upload turns out not to be C3D, and what the store and the queue raise.
        """
        file_name = base_name(file_name)
        arriving = f"incoming/{self._new_id()}.c3d"
        try:
            stored = await self._store.put(arriving, _checked(chunks, file_name))
            known = await self._registry.find_by_recording(stored.recording_sha256)
            if known is not None and known.patient_code is not None and patient_code not in (None, known.patient_code):
                return Received(known, new=False)
            if claim is not None and (known is None or known.patient_code is None):
                await claim()
            if known is not None:
                known = await self._attributed(known, patient_code)
            received = await self._received(arriving, stored, known, file_name, patient_code, mvc)
            # Somebody else may have brought the same bytes meanwhile, without a patient.
            return replace(received, session=await self._attributed(received.session, patient_code))
        finally:
            # Nothing is there any more if the recording was new. A store that fails now must not hide what happened before.
            with suppress(StorageError):
                await self._store.delete(arriving)

    async def announce(
        self,
        *,
        bucket: str,
        name: str,
        revision: str,
        size_bytes: int | None,
        patient_code: str | None = None,
        mvc: GivenMvc | None = None,
    ) -> Received:
        """Queues an object that is in the store as `bucket/name`. One transaction: the object itself is looked at by a worker.

        `revision` tells the contents of one name apart; the same object is the same session, however often it is announced. Announced with
        a patient for the first time, it gets that patient, and announced with other MVC values, it is analysed anew with them, each in a
        transaction more.
        """
        submitted = await self._queue.submit(
            TherapySession(
                session_id=session_id_of_object(bucket, name, revision),
                file_name=base_name(name),
                recording_sha256=None,
                size_bytes=size_bytes,
                recorded_at=None,
                registered_at=self._clock(),
                patient_code=patient_code,
                recording_key=f"{bucket}/{name}",
                mvc=mvc,
            )
        )
        session = await self._attributed(submitted.session, patient_code)
        return await self.remeasure(Received(session, submitted.new), mvc)

    async def remeasure(self, received: Received, mvc: GivenMvc | None) -> Received:
        """Gives a session that was known the MVC values that its recording has arrived with, if it has others; None: it keeps its own.

        Done again after a failure, it does what is missing. A session that was erased meanwhile is left alone.
        """
        if mvc is None or received.session.mvc == mvc:
            return received
        session = await self._queue.remeasure(received.session.session_id, mvc)
        return received if session is None else Received(session, received.new, remeasured=True)

    async def keep(self, session_id: SessionId, chunks: AsyncIterable[bytes]) -> TherapySession | None:
        """Stores the recording of a session that was processed from a file, as uploads are; the session as it is then, None if erased.

        A session that has its recording keeps that. Raises InvalidRecording for other bytes than the session's, and what the store raises.
        """
        session = await self._registry.find(session_id)
        if session is None or session.recording_key is not None:
            return session
        arriving = f"incoming/{self._new_id()}.c3d"
        try:
            stored = await self._store.put(arriving, _checked(chunks, session.file_name))
            if stored.recording_sha256 != session.recording_sha256:
                raise InvalidRecording(session.file_name, "the file was changed while it was processed, so it is not kept")
            kept = _kept(stored)
            await self._store.move(arriving, to=kept)
        finally:
            with suppress(StorageError):
                await self._store.delete(arriving)
        try:
            registered = await self._registry.keep(session_id, kept)
        except BaseException:
            await self._delete_unless_registered(session_id, kept)
            raise
        if registered is None or registered.recording_key != kept:  # It was erased meanwhile, or its bytes came by a bucket.
            await self._store.delete(kept)
        return registered

    async def _received(  # noqa: PLR0917 - a part of `receive`, with what that has found
        self,
        arriving: str,
        stored: StoredRecording,
        known: TherapySession | None,
        file_name: str,
        patient_code: str | None,
        mvc: GivenMvc | None,
    ) -> Received:
        kept = _kept(stored)
        if known is not None and known.recording_key not in (None, kept):  # It came by a bucket, and has its recording there.
            return Received((await self._queue.submit(known)).session, new=False)
        if known is not None and known.recording_key == kept and known.state is not SessionState.FAILED:
            return Received(known, new=False)
        session = known or TherapySession(
            session_id=session_id_of(stored.recording_sha256),
            file_name=file_name,
            recording_sha256=stored.recording_sha256,
            size_bytes=stored.size_bytes,
            recorded_at=None,
            registered_at=self._clock(),
            patient_code=patient_code,
            recording_key=kept,
            mvc=mvc,
        )
        # A recording that failed may have failed for want of its file, and one that was processed from a file was not kept: now it is.
        await self._store.move(arriving, to=kept)
        try:
            submitted = await self._queue.submit(session)
            registered = await self._registry.keep(submitted.session.session_id, kept) or submitted.session
        except BaseException:
            await self._delete_unless_registered(session.session_id, kept)
            raise
        if registered.recording_key != kept:  # The same bytes came by a bucket meanwhile.
            await self._store.delete(kept)
        return Received(registered, submitted.new)

    async def _attributed(self, session: TherapySession, patient_code: str | None) -> TherapySession:
        """Gives a session without a patient this one, and its original too, if it is a duplicate of one without; the session then."""
        if patient_code is None or session.patient_code is not None:
            return session
        if session.same_as is not None:  # First, so that whoever does it again after a failure does this, too.
            await self._registry.attribute(session.same_as, patient_code)
        return await self._registry.attribute(session.session_id, patient_code) or session

    async def _delete_unless_registered(self, session_id: SessionId, key: str) -> None:
        # Of a submission that failed nobody knows whether it was committed before the answer was lost. If that cannot be found out, the
        # recording stays: the same bytes arriving again take its place.
        with suppress(StorageError):
            registered = await self._registry.find(session_id)
            if registered is None or registered.recording_key != key:
                await self._store.delete(key)


def _kept(stored: StoredRecording) -> str:
    """The key under which a recording stays: the same bytes are one recording."""
    return f"uploads/{stored.recording_sha256}.c3d"


def base_name(name: str) -> str:
    """The last part of a path, of either kind, with only what can be printed and stored: a name to show, not to open."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", maxsplit=1)[-1]
    shown = "".join(character for character in last if character.isprintable()).strip()
    end = shown.encode()[-_FILE_NAME_BYTES_MAX:].decode(errors="ignore")
    return end if end.strip(".") else "recording.c3d"


async def _checked(chunks: AsyncIterable[bytes], file_name: str) -> AsyncIterator[bytes]:
    """The chunks, once the first two bytes are seen to be those of a C3D file."""
    beginning = b""
    checked = False
    async for chunk in chunks:
        if checked:
            yield chunk
            continue
        beginning += chunk
        if len(beginning) < 2:
            continue
        if beginning[1] != _C3D_MARK:
            raise InvalidRecording(file_name, "this is no C3D file (a C3D file has 0x50 as its second byte)")
        checked = True
        yield beginning
    if not checked:
        raise InvalidRecording(file_name, "the file is empty" if not beginning else "this is no C3D file: it has 1 byte")
