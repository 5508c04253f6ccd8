"""What seldom changes, remembered for a few seconds, so that to decide who may see what costs no round trip.

The price: a patient who was given to another therapist by another process is noticed `trust_s` later. What this process assigns is noticed
at once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from adapters.expiring import Expiring
from domain.ports import PatientAssignments
from domain.session import SessionId, TherapySession

_THERAPISTS_MAX: Final = 10_000
_SESSIONS_MAX: Final = 100_000


class RememberedPatientAssignments(PatientAssignments):
    """The assignments of `inner`, each therapist's remembered for `trust_s` (0: never)."""

    def __init__(self, inner: PatientAssignments, *, trust_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._trust_s = trust_s
        self._clock = clock
        self._patients: Expiring[str, frozenset[str]] = Expiring(_THERAPISTS_MAX, clock)
        self._writes = 0

    async def patients_of(self, therapist: str) -> frozenset[str]:
        """See the port."""
        known = self._patients.get(therapist)
        if known is not None:
            return known
        writes, asked_at_s = self._writes, self._clock()
        patients = await self._inner.patients_of(therapist)
        if writes == self._writes:  # Else it may be from before an assignment of ours.
            self._patients.put(therapist, patients, until=asked_at_s + self._trust_s)
        return patients

    async def assign(self, patient_code: str, therapist: str) -> None:
        """See the port. Whoever treated the patient before is forgotten, too."""
        try:
            await self._inner.assign(patient_code, therapist)
        finally:
            self._written()

    async def is_open_to(self, patient_code: str, therapist: str) -> bool:
        """See the port. Nothing of it is remembered."""
        return await self._inner.is_open_to(patient_code, therapist)

    async def claim(self, patient_code: str, therapist: str) -> bool:
        """See the port."""
        try:
            return await self._inner.claim(patient_code, therapist)
        finally:
            self._written()

    def _written(self) -> None:
        self._writes += 1
        self._patients.clear()


class RememberedSessions:
    """Registered sessions as they once were, for their patients, who never change. That there is none is not remembered, neither of
    sessions nor of patients.

    For `trust_s` only, although a patient never changes: an erased recording may come again, as the same session of another patient.
    """

    def __init__(
        self,
        find: Callable[[SessionId], Awaitable[TherapySession | None]],
        *,
        trust_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._trust_s = trust_s
        self._clock = clock
        self._sessions: Expiring[SessionId, TherapySession] = Expiring(_SESSIONS_MAX, clock)

    async def find(self, session_id: SessionId) -> TherapySession | None:
        """The session, as it is or was."""
        known = self._sessions.get(session_id)
        if known is None:
            asked_at_s = self._clock()
            known = await self._find(session_id)
            if known is not None and known.patient_code is not None:
                self._sessions.put(session_id, known, until=asked_at_s + self._trust_s)
        return known
