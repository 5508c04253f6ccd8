"""Patients: who there is, how they do, and who treats them. They are known by their codes alone."""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from adapters.http.access import Access, Viewing, forbidden
from adapters.http.cursors import cursor_after_patient, patient_code_of
from adapters.http.needs import HttpNeeds, needed
from adapters.http.problems import PATIENT_NOT_FOUND, Problem
from adapters.http.schemas import CODE_PATTERN, Absent, MetricName, Patient, PatientPage, PatientTrend, problems
from adapters.http.sessions import PAGE_MAX, Registry, Repository
from domain.ports import PatientAssignments
from services.patient_trends import trend_of

router = APIRouter(prefix="/api/v1/patients", tags=["patients"])

_SESSIONS_MAX = 500

PatientCode = Annotated[
    str, Path(min_length=1, max_length=100, pattern=CODE_PATTERN, description="The pseudonym of the patient.", examples=["P042"])
]
Assignments = Annotated[PatientAssignments, needed(HttpNeeds.patient_assignments)]


class Therapist(BaseModel):
    """Who treats a patient."""

    model_config = ConfigDict(extra="forbid")

    therapist: str = Field(
        min_length=1,
        max_length=200,
        pattern=CODE_PATTERN,
        description="The subject (`sub`) of the therapist's tokens.",
        examples=["7c9e6679-7425-40de-944b-e07fc1f90ae7"],
    )


class Assignment(Therapist):
    """A patient and who treats them."""

    patient_code: str


@router.get("", summary="List patients", responses=problems(400, 401, 403, 422, 503))
async def list_patients(
    *,
    viewer: Viewing,
    access: Access,
    registry: Registry,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="Patients a page at most.")] = 50,
    cursor: Annotated[str | Absent, Query(max_length=1000, description="The `next_cursor` of the page before.")] = None,
) -> PatientPage:
    """The patients who have sessions that the bearer may see, in the order of their codes."""
    among = await access.patients_of(viewer)
    found = await registry.patients(among, limit=limit + 1, after=None if cursor is None else patient_code_of(cursor))
    shown = found[:limit]
    return PatientPage(
        patients=[Patient.of(patient) for patient in shown],
        next_cursor=cursor_after_patient(shown[-1].patient_code) if len(found) > limit else None,
    )


@router.get("/{patient_code}/trends", summary="Follow a metric", responses=problems(401, 403, 404, 422, 503))
async def trends(
    *,
    patient_code: PatientCode,
    viewer: Viewing,
    access: Access,
    registry: Registry,
    repository: Repository,
    metric: Annotated[MetricName, Query(description="What to follow.")] = "compliance_rate",
    sessions: Annotated[int, Query(ge=1, le=_SESSIONS_MAX, description="Over so many of the last sessions.")] = 100,
) -> PatientTrend:
    """One metric of each channel over a patient's completed sessions, in order of recording.

    A patient of another therapist is answered like one that does not exist.
    """
    patients = await access.patients_of(viewer)
    if patients is not None and patient_code not in patients:
        raise Problem(PATIENT_NOT_FOUND)
    trend = await trend_of(registry, repository, patient_code, metric, sessions_max=sessions)
    if patients is None and trend.sessions == 0:
        raise Problem(PATIENT_NOT_FOUND)
    return PatientTrend.of(patient_code, metric, trend)


@router.put("/{patient_code}/therapist", summary="Assign a patient", responses=problems(400, 401, 403, 413, 422, 503))
async def assign(patient_code: PatientCode, body: Therapist, viewer: Viewing, assignments: Assignments) -> Assignment:
    """Makes somebody the one therapist of a patient, who sees the patient's sessions from then on. For admins."""
    if not viewer.may_assign_patients:
        raise forbidden("only an admin assigns patients")
    await assignments.assign(patient_code, body.therapist)
    return Assignment(patient_code=patient_code, therapist=body.therapist)
