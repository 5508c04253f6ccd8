"""The registry of therapy sessions, in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from domain.mvc import GivenMvc
from domain.ports import PageKey, PatientSessions, SessionQuery, SessionRegistry
from domain.session import SessionId, SessionState, TherapySession, stays_settled


class MemorySessionRegistry(SessionRegistry):
    """Keeps the sessions in a dict. No method awaits, so every call is atomic."""

    def __init__(self) -> None:
        self._sessions: dict[SessionId, TherapySession] = {}

    async def register(self, session: TherapySession) -> TherapySession:
        """See the port."""
        known = self._sessions.get(session.session_id) or self._with_recording(session.recording_sha256)
        return known or self._sessions.setdefault(session.session_id, session)

    async def find(self, session_id: SessionId) -> TherapySession | None:
        """See the port."""
        return self._sessions.get(session_id)

    async def find_by_recording(self, recording_sha256: str) -> TherapySession | None:
        """See the port."""
        return self._with_recording(recording_sha256)

    async def recent(self, limit: int) -> Sequence[TherapySession]:
        """See the port."""
        return sorted(self._sessions.values(), key=_order, reverse=True)[:limit]

    async def page(self, query: SessionQuery, *, limit: int, after: PageKey | None = None) -> Sequence[TherapySession]:
        """See the port."""
        last = (after.registered_at, after.session_id) if after is not None else None
        matching = (session for session in self._sessions.values() if _matches(session, query))
        following = (session for session in matching if last is None or _order(session) < last)
        return sorted(following, key=_order, reverse=True)[:limit]

    async def patients(self, among: frozenset[str] | None, *, limit: int, after: str | None = None) -> Sequence[PatientSessions]:
        """See the port."""
        by_code: dict[str, list[TherapySession]] = {}
        for session in self._sessions.values():
            if session.patient_code is not None and _matches(session, SessionQuery(patients=among)):
                by_code.setdefault(session.patient_code, []).append(session)
        following = sorted(code for code in by_code if after is None or code > after)
        return [_in_brief(code, by_code[code]) for code in following[:limit]]

    async def naming(self, recording_keys: Collection[str]) -> frozenset[str]:
        """See the port."""
        named = {session.recording_key for session in self._sessions.values()}
        return frozenset(key for key in recording_keys if key in named)

    async def identify(self, session_id: SessionId, recording_sha256: str, size_bytes: int) -> TherapySession | None:
        """See the port."""
        session = self._sessions.get(session_id)
        if session is None:
            return None
        holder = self._with_recording(recording_sha256)
        if holder is not None and holder.session_id != session_id and holder.state is SessionState.FAILED:
            self._sessions[holder.session_id] = replace(holder, recording_sha256=None)
            holder = None
        if holder is not None and holder.session_id != session_id:
            session = replace(
                session,
                recording_sha256=None,
                size_bytes=size_bytes,
                state=SessionState.DUPLICATE,
                progress=1.0,
                failure=None,
                same_as=holder.session_id,
            )
        else:
            state = SessionState.PROCESSING if session.state is SessionState.DUPLICATE else session.state
            session = replace(session, recording_sha256=recording_sha256, size_bytes=size_bytes, state=state, same_as=None)
        self._sessions[session_id] = session
        return session

    async def duplicates_of(self, session_id: SessionId) -> Sequence[TherapySession]:
        """See the port."""
        return sorted((session for session in self._sessions.values() if session.same_as == session_id), key=_order)

    async def keep(self, session_id: SessionId, recording_key: str) -> TherapySession | None:
        """See the port."""
        session = self._sessions.get(session_id)
        if session is None or session.recording_key is not None:
            return session
        self._sessions[session_id] = session = replace(session, recording_key=recording_key)
        return session

    async def attribute(self, session_id: SessionId, patient_code: str) -> TherapySession | None:
        """See the port."""
        session = self._sessions.get(session_id)
        if session is None or session.patient_code is not None:
            return session
        self._sessions[session_id] = session = replace(session, patient_code=patient_code)
        return session

    async def note(
        self,
        session_id: SessionId,
        state: SessionState,
        *,
        progress: float = 0.0,
        failure: str | None = None,
        recorded_at: datetime | None = None,
    ) -> bool:
        """See the port."""
        session = self._sessions.get(session_id)
        if session is None:
            return False
        session = self._sessions[session_id] = replace(session, recorded_at=recorded_at or session.recorded_at)
        if not stays_settled(session.state, state):
            self._sessions[session_id] = replace(
                session,
                state=state,
                progress=progress,
                failure=failure,
            )
        return True

    async def remeasure(self, session_id: SessionId, mvc: GivenMvc) -> TherapySession | None:
        """See the port."""
        session = self._sessions.get(session_id)
        if session is None or session.mvc == mvc:
            return session
        session = replace(session, mvc=mvc)
        if session.state is not SessionState.DUPLICATE:
            session = replace(session, state=SessionState.PROCESSING, progress=0.0, failure=None)
        self._sessions[session_id] = session
        return session

    async def complete(self, session_id: SessionId, mvc: GivenMvc | None, *, recorded_at: datetime | None) -> TherapySession | None:
        """See the port."""
        session = self._sessions.get(session_id)
        if session is None:
            return None
        session = replace(session, recorded_at=recorded_at or session.recorded_at)
        if session.mvc == mvc:
            session = replace(session, state=SessionState.COMPLETED, progress=1.0, failure=None)
        self._sessions[session_id] = session
        return session

    async def forget(self, session_id: SessionId) -> bool:
        """See the port."""
        return self._sessions.pop(session_id, None) is not None

    def has_sessions_of(self, patient_code: str) -> bool:
        """Whether a session of a patient is registered, for the assignments in memory; duplicates count."""
        return any(session.patient_code == patient_code for session in self._sessions.values())

    def _with_recording(self, recording_sha256: str | None) -> TherapySession | None:
        if recording_sha256 is None:
            return None
        return next((session for session in self._sessions.values() if session.recording_sha256 == recording_sha256), None)


def _order(session: TherapySession) -> tuple[datetime, SessionId]:
    return session.registered_at, session.session_id


def _in_brief(code: str, sessions: Sequence[TherapySession]) -> PatientSessions:
    recorded = [session.recorded_at for session in sessions if session.recorded_at is not None]
    return PatientSessions(code, len(sessions), max(recorded, default=None), max(session.registered_at for session in sessions))


def _matches(session: TherapySession, query: SessionQuery) -> bool:
    recorded_at = session.recorded_at
    ranged = query.recorded_from is not None or query.recorded_before is not None
    return (
        (session.state is not SessionState.DUPLICATE)
        and (query.patients is None or session.patient_code in query.patients)
        and (query.patient_code is None or session.patient_code == query.patient_code)
        and (query.state is None or session.state is query.state)
        and (not ranged or recorded_at is not None)
        and (query.recorded_from is None or (recorded_at is not None and recorded_at >= query.recorded_from))
        and (query.recorded_before is None or (recorded_at is not None and recorded_at < query.recorded_before))
    )
