"""The servers of the benchmark of HTTP, each a process of its own: ours as `emg-sessions serve` starts it, and the peers.

    python -m adapters.entrypoints.bench.http_servers    (what to serve stands in EMG_BENCH_SERVE)

Peers run on the same server, with the same options, as ours does.
"""

# No `from __future__ import annotations`: FastAPI and SQLAlchemy have to see the annotations, not their text.

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final
from uuid import UUID

import redis.asyncio as redis
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from adapters.entrypoints.serving import keep_what_is_there, new_event_loop, server_options

PATH: Final = "/api/v1/sessions/{session_id}/analytics"
VARIABLE: Final = "EMG_BENCH_SERVE"
_DAY_S: Final = 24 * 3600
_POOL: Final = 10


@dataclass(frozen=True, slots=True)
class Served:
    """What to serve: `app` is ours, bare, uncached or fastapi-cache2; `server` is uvicorn, run as ours is, or granian. `body` (in hex) and
    `headers` are what the bare one answers."""

    app: str
    database_url: str
    redis_url: str
    key_prefix: str
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    server: str = "uvicorn"

    def as_environment(self) -> dict[str, str]:
        """For the process that serves it."""
        return {VARIABLE: json.dumps(asdict(self))}


def bare(body: bytes, headers: list[tuple[bytes, bytes]]) -> Any:
    """The smallest ASGI application: the same constant bytes with the same headers, whatever is asked."""

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


class Base(DeclarativeBase):
    """As the tutorial has it."""


class Analytics(Base):
    """The same table, as an ORM sees it."""

    __tablename__ = "session_analytics"
    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)


def uncached(database_url: str) -> FastAPI:
    """As the tutorials of FastAPI and SQLAlchemy have it: an ORM session a request, the document from PostgreSQL."""
    sessions = _sessions(database_url)
    app = FastAPI()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened:
            yield opened

    @app.get(PATH)
    async def analytics(session_id: UUID, db: Annotated[AsyncSession, Depends(session)]) -> dict[str, Any]:
        return await _document(db, session_id)

    return app


def with_fastapi_cache(database_url: str, redis_url: str, prefix: str) -> FastAPI:
    """The same route under fastapi-cache2's decorator, with its Redis backend, as its README has it."""
    sessions = _sessions(database_url)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with redis.from_url(redis_url) as client:
            FastAPICache.init(RedisBackend(client), prefix=prefix)
            yield

    app = FastAPI(lifespan=lifespan)

    # The session is opened inside: as a dependency it would be part of the key, and opened for every hit.
    @app.get(PATH)
    @cache(expire=_DAY_S)
    async def analytics(session_id: UUID) -> dict[str, Any]:
        async with sessions() as db:
            return await _document(db, session_id)

    return app


def _sessions(database_url: str) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(create_async_engine(database_url, pool_size=_POOL))


async def _document(db: AsyncSession, session_id: UUID) -> dict[str, Any]:
    found = (await db.execute(select(Analytics).where(Analytics.session_id == session_id))).scalar_one_or_none()
    if found is None:
        raise HTTPException(404)
    return found.document


def create() -> Any:
    """The application that the environment names; its settings, if it is ours, are in the environment too."""
    served = from_environment()
    match served.app:
        case "ours":
            from adapters.entrypoints import asgi  # noqa: PLC0415 - others should not have to load it

            return asgi.create()
        case "bare":
            return bare(bytes.fromhex(served.body), [(name.encode(), value.encode()) for name, value in served.headers])
        case "uncached":
            return uncached(served.database_url)
        case "fastapi-cache2":
            return with_fastapi_cache(served.database_url, served.redis_url, served.key_prefix)
        case unknown:
            raise SystemExit(f"there is no application {unknown!r}")


def from_environment() -> Served:
    """What to serve."""
    return Served(**json.loads(os.environ[VARIABLE]))


def main() -> None:
    """Serves until SIGTERM, on a port that is free; prints the address, as `emg-sessions serve` does."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        if from_environment().server == "uvicorn":
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(_by_uvicorn(listening, port))
            return
    _by_granian(port)


async def _by_uvicorn(listening: socket.socket, port: int) -> None:
    server = uvicorn.Server(uvicorn.Config(create(), **server_options()))
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started and not serving.done():  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0.01)
    keep_what_is_there()
    _announce(port)
    await serving


def _by_granian(port: int) -> None:
    from granian import Granian  # noqa: PLC0415 - others should not have to load it
    from granian.constants import Interfaces, Loops  # noqa: PLC0415

    _announce(port)
    Granian(
        f"{__spec__.name}:create", factory=True, interface=Interfaces.ASGI, address="127.0.0.1", port=port, workers=1, loop=Loops.uvloop,
        log_enabled=False,
    ).serve()  # fmt: skip


def _announce(port: int) -> None:
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
