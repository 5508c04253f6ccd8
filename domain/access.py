"""Who looks at sessions, and what each role may see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What somebody is to the system.

    therapist: sees the sessions of the patients assigned to them. researcher: sees every session, and nothing that the recording says of
    the people in it. admin: sees everything, and assigns patients.
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
