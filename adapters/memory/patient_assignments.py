"""Who treats whom, in memory."""

from __future__ import annotations

from adapters.memory.session_registry import MemorySessionRegistry
from domain.ports import PatientAssignments


class MemoryPatientAssignments(PatientAssignments):
    """Keeps the assignments in a dict, by patient. No method awaits, so every call is atomic."""

    def __init__(self, registry: MemorySessionRegistry) -> None:
        self._registry = registry
        self._therapists: dict[str, str] = {}

    async def patients_of(self, therapist: str) -> frozenset[str]:
        """See the port."""
        return frozenset(patient for patient, treats in self._therapists.items() if treats == therapist)

    async def assign(self, patient_code: str, therapist: str) -> None:
        """See the port."""
        self._therapists[patient_code] = therapist

    async def is_open_to(self, patient_code: str, therapist: str) -> bool:
        """See the port."""
        return self._is_open_to(patient_code, therapist)

    async def claim(self, patient_code: str, therapist: str) -> bool:
        """See the port."""
        if not self._is_open_to(patient_code, therapist):
            return False
        self._therapists[patient_code] = therapist
        return True

    def _is_open_to(self, patient_code: str, therapist: str) -> bool:
        treats = self._therapists.get(patient_code)
        return treats == therapist or (treats is None and not self._registry.has_sessions_of(patient_code))
