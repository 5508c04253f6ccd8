"""`/health` for people and alerts, `/health/live` and `/health/ready` for whoever runs processes, `/metrics` for Prometheus."""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from adapters.http.needs import HttpNeeds, needed
from adapters.http.observation import HttpMeter
from adapters.http.problems import Kind, Problem
from adapters.http.schemas import problems
from services.health import HealthReport, HealthWatch

NOT_READY: Final = Kind("not-ready", 503, "The service is not ready")

router = APIRouter(tags=["health"])

Watch = Annotated[HealthWatch, needed(HttpNeeds.health)]
Status = Literal["healthy", "degraded", "unhealthy"]


class Part(BaseModel):
    """How a part of the system does."""

    status: Status
    since: datetime | None = Field(None, description="Since when it has not been healthy, as far as it was looked at.")
    reason: str | None = Field(None, description="What is amiss.")
    facts: dict[str, str | int | float | None] = Field(description="Figures, their units last in their names.")


class Health(BaseModel):
    """How the system does. degraded: it answers, and something is amiss."""

    status: Status
    version: str
    parts: dict[str, Part]

    @classmethod
    def of(cls, report: HealthReport) -> "Health":
        """From what was seen."""
        parts = {
            name: Part(status=part.health.status, since=part.since, reason=part.health.reason, facts=dict(part.health.facts))
            for name, part in report.parts.items()
        }
        return cls(status=report.status, version=_version(), parts=parts)


@router.get("/health", summary="How the system does", responses=problems(503))
async def health(watch: Watch, response: Response) -> Health:
    """200 also when something is amiss: `status` says so, and each part why and since when. Each part is given two seconds at most."""
    response.headers["Cache-Control"] = "no-store"
    return Health.of(await watch.report())


@router.get("/health/live", summary="Whether the process answers")
async def live() -> dict[str, str]:
    """Asks nobody else: a database that is away is no reason to start this process again."""
    return {"status": "alive"}


@router.get("/health/ready", summary="Whether the process should get requests", responses=problems(503))
async def ready(watch: Watch) -> dict[str, str]:
    """503 until the database answers and its schema is what this program needs. The cache may be away: then the database answers."""
    report = await watch.report()
    database = report.parts.get("database")  # None: STORAGE=memory
    if database is not None and database.health.status == "unhealthy":
        raise Problem(NOT_READY, f"database: {database.health.reason}", headers={"Retry-After": "1"})
    return {"status": "ready"}


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(watch: Watch, meter: Annotated[HttpMeter, needed(HttpNeeds.meter)]) -> Response:
    """All metrics in Prometheus' text format; docs/operations.md says what each of them is."""
    report = await watch.report()
    meter.seen({name: part.health for name, part in report.parts.items()})
    body, media_type = meter.exposition()
    return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


def _version() -> str:
    try:
        return version("emg-sessions")
    except PackageNotFoundError:  # Run from its folder, without having been installed.
        return "unknown"
