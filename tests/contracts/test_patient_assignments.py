"""What every PatientAssignments promises."""

from __future__ import annotations

import asyncio

from domain.ports import PatientAssignments
from tests.strategies import new_id


def new_name(kind: str) -> str:
    return f"{kind} Ü→ {new_id()}"


async def test_a_therapist_without_patients_has_none(assignments: PatientAssignments) -> None:
    assert await assignments.patients_of(new_name("therapist")) == frozenset()


async def test_a_therapist_has_the_patients_assigned(assignments: PatientAssignments) -> None:
    therapist, patients = new_name("therapist"), {new_name("patient") for _ in range(3)}
    for patient in patients:
        for _ in range(2):
            assert await assignments.assign(patient, therapist) == therapist
    assert await assignments.patients_of(therapist) == patients


async def test_a_patient_who_is_assigned_anew_leaves_the_therapist_before(assignments: PatientAssignments) -> None:
    patient, before, after = new_name("patient"), new_name("therapist"), new_name("therapist")
    await assignments.assign(patient, before)
    assert await assignments.assign(patient, after) == after
    assert await assignments.patients_of(before) == frozenset()
    assert await assignments.patients_of(after) == {patient}


async def test_a_patient_who_is_assigned_stays_so_if_wanted(assignments: PatientAssignments) -> None:
    patient, first, second = new_name("patient"), new_name("therapist"), new_name("therapist")
    assert await assignments.assign(patient, first, unless_assigned=True) == first
    assert await assignments.assign(patient, second, unless_assigned=True) == first
    assert await assignments.patients_of(second) == frozenset()


async def test_of_those_who_want_a_patient_at_once_one_gets_it_and_all_are_told(assignments: PatientAssignments) -> None:
    patient, therapists = new_name("patient"), [new_name("therapist") for _ in range(8)]
    answers = await asyncio.gather(*(assignments.assign(patient, therapist, unless_assigned=True) for therapist in therapists))
    assert len(set(answers)) == 1
    assert await assignments.patients_of(answers[0]) == {patient}
