"""What is remembered of who may see what: for a moment by the clock, and not past what this process did itself."""

from __future__ import annotations

import asyncio

from adapters.expiring import Expiring
from adapters.memory import MemoryPatientAssignments, MemorySessionRegistry
from adapters.remembered import RememberedPatientAssignments, RememberedSessions
from domain.access import Role, Viewer
from domain.ports import PatientAssignments
from services.session_access import SessionAccess
from tests.strategies import new_id, some_session


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_values_end_at_their_moment_and_the_first_goes_when_there_are_too_many() -> None:
    clock = Clock()
    kept: Expiring[str, int] = Expiring(2, clock)
    kept.put("a", 1, until=110.0)
    kept.put("b", 2, until=120.0)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1, 2, None)
    clock.now_s = 110.0
    assert (kept.get("a"), kept.get("b"), len(kept)) == (None, 2, 1)
    kept.put("c", 3, until=120.0)
    kept.put("d", 4, until=120.0)
    assert (kept.get("b"), kept.get("c"), kept.get("d"), len(kept)) == (None, 3, 4, 2)
    kept.put("c", 5, until=130.0)
    assert (kept.get("c"), kept.get("d"), len(kept)) == (5, 4, 2)


async def test_anothers_assignment_is_noticed_when_trust_ends_and_our_own_at_once() -> None:
    clock, stored = Clock(), MemoryPatientAssignments(MemorySessionRegistry())
    ours = RememberedPatientAssignments(stored, trust_s=5.0, clock=clock)
    await ours.assign("P1", "one")
    assert await ours.patients_of("one") == {"P1"}
    await stored.assign("P1", "another")
    assert await ours.patients_of("one") == {"P1"}
    clock.now_s += 5.0
    assert await ours.patients_of("one") == frozenset()
    assert await ours.patients_of("another") == {"P1"}
    await ours.assign("P1", "one")
    assert await ours.patients_of("another") == frozenset()
    assert await ours.claim("P2", "another")
    assert await ours.patients_of("another") == {"P2"}
    await stored.assign("P2", "one")
    assert not await ours.is_open_to("P2", "another")
    assert not await ours.claim("P2", "another")
    assert await ours.patients_of("another") == frozenset()


async def test_without_trust_everything_is_asked() -> None:
    stored = MemoryPatientAssignments(MemorySessionRegistry())
    ours = RememberedPatientAssignments(stored, trust_s=0.0)
    for therapist in ("one", "another", "one"):
        await stored.assign("P1", therapist)
        assert await ours.patients_of(therapist) == {"P1"}


async def test_an_answer_from_before_our_own_assignment_is_not_remembered() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    class Slow(MemoryPatientAssignments):
        async def patients_of(self, therapist: str) -> frozenset[str]:
            patients = await super().patients_of(therapist)
            asked.set()
            await may_answer.wait()
            return patients

    stored: PatientAssignments = Slow(MemorySessionRegistry())
    ours = RememberedPatientAssignments(stored, trust_s=60.0)
    early = asyncio.create_task(ours.patients_of("one"))
    await asked.wait()
    await ours.assign("P1", "one")
    may_answer.set()
    assert await early == frozenset()
    assert await ours.patients_of("one") == {"P1"}


async def test_a_session_that_does_not_exist_is_not_remembered_and_one_that_is_erased_not_for_long() -> None:
    clock, registry, session = Clock(), MemorySessionRegistry(), some_session(new_id(), patient_code="P1")
    remembered = RememberedSessions(registry.find, trust_s=5.0, clock=clock)
    assert await remembered.find(session.session_id) is None
    await registry.register(session)
    assert await remembered.find(session.session_id) == session
    await registry.forget(session.session_id)
    assert await remembered.find(session.session_id) == session
    clock.now_s += 5.0
    assert await remembered.find(session.session_id) is None


async def test_a_session_that_gets_its_patient_is_seen_at_once() -> None:
    registry, session = MemorySessionRegistry(), some_session(new_id(), patient_code=None)
    remembered = RememberedSessions(registry.find, trust_s=60.0)
    await registry.register(session)
    assert await remembered.find(session.session_id) == session
    given = await registry.attribute(session.session_id, "P1")
    assert given is not None
    assert await remembered.find(session.session_id) == given


async def test_a_therapist_sees_own_patients_and_others_see_all() -> None:
    registry = MemorySessionRegistry()
    assignments = MemoryPatientAssignments(registry)
    access = SessionAccess(find=registry.find, find_owner=registry.find, assignments=assignments)
    own = await registry.register(some_session(new_id(), recording_sha256=None, patient_code="P1"))
    other = await registry.register(some_session(new_id(), recording_sha256=None, patient_code=None))
    await assignments.assign("P1", "one")
    sees = {
        role: [await access.may_see(Viewer("one", role), session_id) for session_id in (own.session_id, other.session_id, new_id())]
        for role in Role
    }
    assert sees == {Role.THERAPIST: [True, False, False], Role.RESEARCHER: [True] * 3, Role.ADMIN: [True] * 3}
