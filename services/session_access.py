"""Which sessions somebody may see: the one place that decides it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from domain.access import Viewer, session_as_seen
from domain.ports import PatientAssignments
from domain.session import SessionId, TherapySession

FindSession = Callable[[SessionId], Awaitable[TherapySession | None]]


class SessionAccess:
    """Decides by role, by the session's patient and by the patient's therapist.

    `find_owner` gives the session as it was at some time since it was registered: only its patient is looked at, who never changes, and
    must not be from before there was one. A session that may not be seen is answered like one that does not exist.
    """

    def __init__(self, *, find: FindSession, find_owner: FindSession, assignments: PatientAssignments) -> None:
        self._find = find
        self._find_owner = find_owner
        self._assignments = assignments

    async def patients_of(self, viewer: Viewer) -> frozenset[str] | None:
        """The patients whose sessions may be seen; None: everybody's, and sessions without a patient too."""
        return await self._assignments.patients_of(viewer.subject) if viewer.sees_own_patients_only else None

    async def may_see(self, viewer: Viewer, session_id: SessionId) -> bool:
        """Whether the session may be seen; who sees every session may see those that do not exist, too."""
        if not viewer.sees_own_patients_only:
            return True
        owner = await self._find_owner(session_id)
        if owner is None or owner.patient_code is None:
            return False
        return owner.patient_code in await self._assignments.patients_of(viewer.subject)

    async def find(self, viewer: Viewer, session_id: SessionId) -> TherapySession | None:
        """The session as it is now, as far as it may be seen; None if it does not exist or may not be seen."""
        session = await self._find(session_id)
        if session is None:
            return None
        if not viewer.sees_own_patients_only:
            return session_as_seen(session, viewer)
        if session.patient_code is None or session.patient_code not in await self._assignments.patients_of(viewer.subject):
            return None
        return session
