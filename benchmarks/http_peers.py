"""What benchmarks/http_hot_route.py compares with."""

# No `from __future__ import annotations`: FastAPI and SQLAlchemy have to see the annotations, not their text.

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/api/v1/sessions/{session_id}/analytics"


def bare(body: bytes, headers: list[tuple[bytes, bytes]]) -> Any:
    """The smallest ASGI application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def constant_starlette(body: bytes, headers: dict[str, str]) -> Any:
    """One route, nothing else."""

    async def analytics(_: Request) -> Response:
        return Response(body, headers=headers)

    return Starlette(routes=[Route(PATH, analytics)])


def constant_fastapi(body: bytes, headers: dict[str, str]) -> Any:
    """One route, nothing else."""
    app = FastAPI()

    @app.get(PATH)
    async def analytics(session_id: UUID) -> Response:  # noqa: ARG001 - validated, as one does
        return Response(body, headers=headers)

    return app


class Base(DeclarativeBase):
    """As the tutorial has it."""


class Analytics(Base):
    """The same table, as an ORM sees it."""

    __tablename__ = "session_analytics"
    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)


def uncached(database_url: str) -> Any:
    """As the tutorials of FastAPI and SQLAlchemy have it."""
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=10)
    sessions = async_sessionmaker(engine)
    app = FastAPI()

    async def session() -> Any:
        async with sessions() as opened:
            yield opened

    @app.get(PATH)
    async def analytics(session_id: UUID, db: Annotated[AsyncSession, Depends(session)]) -> dict[str, Any]:
        found = (await db.execute(select(Analytics).where(Analytics.session_id == session_id))).scalar_one_or_none()
        if found is None:
            raise HTTPException(404)
        return found.document

    return app
