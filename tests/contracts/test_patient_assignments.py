"""What every PatientAssignments promises."""

from __future__ import annotations

import asyncio

import pytest

from domain.ports import PatientAssignments, SessionRegistry
from domain.session import SessionState
from tests.strategies import new_id, some_session


def new_name(kind: str) -> str:
    return f"{kind} Ü→ {new_id()}"


async def test_a_therapist_without_patients_has_none(assignments: PatientAssignments) -> None:
    assert await assignments.patients_of(new_name("therapist")) == frozenset()


async def test_a_therapist_has_the_patients_assigned(assignments: PatientAssignments) -> None:
    therapist, patients = new_name("therapist"), {new_name("patient") for _ in range(3)}
    for patient in patients:
        for _ in range(2):
            await assignments.assign(patient, therapist)
    assert await assignments.patients_of(therapist) == patients


async def test_a_patient_who_is_assigned_anew_leaves_the_therapist_before(assignments: PatientAssignments) -> None:
    patient, before, after = new_name("patient"), new_name("therapist"), new_name("therapist")
    await assignments.assign(patient, before)
    await assignments.assign(patient, after)
    assert await assignments.patients_of(before) == frozenset()
    assert await assignments.patients_of(after) == {patient}


async def test_a_new_patient_is_claimed_once(assignments: PatientAssignments) -> None:
    patient, first, second = new_name("patient"), new_name("therapist"), new_name("therapist")
    assert await assignments.is_open_to(patient, first)
    assert await assignments.patients_of(first) == frozenset()
    for _ in range(2):
        assert await assignments.claim(patient, first)
    assert await assignments.is_open_to(patient, first)
    assert not await assignments.is_open_to(patient, second)
    assert not await assignments.claim(patient, second)
    assert await assignments.patients_of(first) == {patient}
    assert await assignments.patients_of(second) == frozenset()


@pytest.mark.parametrize("state", SessionState)
async def test_a_patient_of_whom_there_is_a_session_is_not_claimed(
    assignments: PatientAssignments, registry: SessionRegistry, state: SessionState
) -> None:
    patient, therapist = new_name("patient"), new_name("therapist")
    session = await registry.register(some_session(patient_code=patient, state=state))
    assert not await assignments.is_open_to(patient, therapist)
    assert not await assignments.claim(patient, therapist)
    assert await assignments.patients_of(therapist) == frozenset()
    await registry.forget(session.session_id)
    assert await assignments.claim(patient, therapist)


async def test_a_patient_who_is_assigned_and_has_sessions_is_open_to_the_own_therapist_alone(
    assignments: PatientAssignments, registry: SessionRegistry
) -> None:
    patient, own, other = new_name("patient"), new_name("therapist"), new_name("therapist")
    await assignments.assign(patient, own)
    await registry.register(some_session(patient_code=patient))
    assert [await assignments.is_open_to(patient, therapist) for therapist in (own, other)] == [True, False]
    assert [await assignments.claim(patient, therapist) for therapist in (other, own)] == [False, True]
    assert await assignments.patients_of(own) == {patient}


async def test_of_those_who_claim_a_patient_at_once_one_gets_it_and_all_are_told(assignments: PatientAssignments) -> None:
    patient, therapists = new_name("patient"), [new_name("therapist") for _ in range(8)]
    answers = await asyncio.gather(*(assignments.claim(patient, therapist) for therapist in therapists))
    assert sum(answers) == 1
    assert await assignments.patients_of(therapists[answers.index(True)]) == {patient}
