"""Who asks: the role that their token gives them, and what it may do."""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from adapters.http.access import Viewing
from adapters.http.schemas import problems

router = APIRouter(tags=["viewer"])


class WhoAsks(BaseModel):
    """The bearer, as the service sees them. Each route looks for itself: this is for pages that offer only what would not be refused."""

    role: Literal["therapist", "researcher", "admin"]
    may_upload: bool = Field(description="Whether they may upload recordings.")
    may_erase: bool = Field(description="Whether they may erase the sessions that they may see.")


@router.get("/api/v1/viewer", summary="Tell who asks", responses=problems(401, 403, 503))
async def who_asks(viewer: Viewing, response: Response) -> WhoAsks:
    """The role of the bearer's token and what it may do. Without keys everybody on this machine is an admin."""
    response.headers["Cache-Control"] = "no-store"
    return WhoAsks(role=viewer.role.value, may_upload=viewer.may_upload, may_erase=viewer.may_erase)
