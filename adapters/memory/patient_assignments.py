"""Who treats whom, in memory."""

from __future__ import annotations

from domain.ports import PatientAssignments


class MemoryPatientAssignments(PatientAssignments):
    """Keeps the assignments in a dict, by patient. No method awaits, so every call is atomic."""

    def __init__(self) -> None:
        self._therapists: dict[str, str] = {}

    async def patients_of(self, therapist: str) -> frozenset[str]:
        """See the port."""
        return frozenset(patient for patient, treats in self._therapists.items() if treats == therapist)

    async def assign(self, patient_code: str, therapist: str, *, unless_assigned: bool = False) -> str:
        """See the port."""
        if unless_assigned:
            return self._therapists.setdefault(patient_code, therapist)
        self._therapists[patient_code] = therapist
        return therapist
