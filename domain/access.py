"""Who looks at sessions, and what each role may see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from domain.analytics import SessionAnalytics
from domain.session import SessionId, TherapySession


class Role(Enum):
    """What somebody is to the system.

    therapist: sees the sessions of the patients assigned to them. researcher: sees every session, and nothing that the recording, or the
    name that somebody gave its file, says of the people in it. admin: sees everything, and assigns patients.
    """

    THERAPIST = "therapist"
    RESEARCHER = "researcher"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who asks. `subject` is who the token says they are: the name that patients are assigned to."""

    subject: str
    role: Role

    @property
    def sees_subjects(self) -> bool:
        """Whether what a recording says of people may be shown."""
        return self.role is not Role.RESEARCHER

    @property
    def sees_own_patients_only(self) -> bool:
        """Whether what may be seen depends on whose patient it is."""
        return self.role is Role.THERAPIST

    @property
    def may_upload(self) -> bool:
        """Whether recordings may be uploaded."""
        return self.role is not Role.RESEARCHER

    @property
    def may_erase(self) -> bool:
        """Whether sessions that may be seen may be erased."""
        return self.role is not Role.RESEARCHER

    @property
    def may_assign_patients(self) -> bool:
        """Whether patients may be assigned to therapists."""
        return self.role is Role.ADMIN


def session_as_seen(session: TherapySession, viewer: Viewer) -> TherapySession:
    """The session as far as somebody may see it. People put names into the names of files, and failures begin with those."""
    if viewer.sees_subjects:
        return session
    name = _neutral_name(session.session_id)
    failure = None if session.failure is None else session.failure.replace(session.file_name, name)
    return replace(session, file_name=name, failure=failure)


def without_people(analytics: SessionAnalytics) -> SessionAnalytics:
    """The analytics without what the recording and its file's name say of people."""
    return replace(analytics, recording=replace(analytics.recording, file_name=_neutral_name(analytics.session_id), subject={}))


def _neutral_name(session_id: SessionId) -> str:
    return f"{session_id}.c3d"
