"""The application as it is served: uvicorn on a loopback port, real servers behind it, and clients that know its secrets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import jwt
import sqlalchemy as sa
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.http.app import create_app
from adapters.http.needs import HttpNeeds
from adapters.http.signature import sign
from adapters.settings import Settings
from container import Container, http_policy, resolve, running

WEBHOOK: Final = "/webhooks/storage/c3d-upload"
RECORDINGS: Final = "/api/v1/recordings"
WEBHOOK_SECRET: Final = "a secret of the storage"
JWT_SECRET: Final = "a secret of the issuer, of 32 bytes or more"


def token(role: str, subject: str = "somebody") -> str:
    """A bearer token that the served application believes."""
    claims = {"sub": subject, "role": role, "exp": datetime.now(UTC) + timedelta(minutes=5)}
    return jwt.encode(claims, JWT_SECRET, algorithm="HS256")


def bearer(role: str, subject: str = "somebody") -> dict[str, str]:
    """The header with it."""
    return {"Authorization": f"Bearer {token(role, subject)}"}


def event_of(name: str = "P001/a.c3d", kind: str = "INSERT", **changes: Any) -> bytes:
    """The body of a storage event."""
    record = {"id": "a1", "name": name, "bucket_id": "recordings", "version": "v1", "metadata": {"eTag": f"etag of {name}", "size": 1000}}
    return json.dumps({"type": kind, "table": "objects", "schema": "storage", "record": record | changes, "old_record": None}).encode()


@dataclass
class Served:
    """A running application, and what it is made of."""

    app: Container
    client: httpx.AsyncClient
    port: int

    async def tell(self, body: bytes, *, secret: str | None = WEBHOOK_SECRET, **headers: str) -> httpx.Response:
        """Sends a storage event, signed unless there is no secret."""
        signed = {} if secret is None else {"x-supabase-signature": sign(body, secret)}
        sent = {"content-type": "application/json"} | signed | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(WEBHOOK, content=body, headers=sent)

    async def upload(
        self,
        content: bytes,
        *,
        patient: str | None = None,
        mvc: str | None = None,
        name: str = "a.c3d",
        role: str = "admin",
        subject: str = "somebody",
    ) -> httpx.Response:
        """Uploads a recording as a browser does."""
        fields = {name: value for name, value in (("patient", patient), ("mvc", mvc)) if value is not None}
        return await self.client.post(RECORDINGS, data=fields, files={"file": (name, content)}, headers=bearer(role, subject))

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the database answers to a statement."""
        engine: AsyncEngine = await resolve(self.app.engine)
        async with engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(sa.text(statement))]

    async def counts(self) -> tuple[int, int]:
        """How many sessions are registered, and how many jobs queued."""
        ((sessions, jobs),) = await self.rows(
            "SELECT (SELECT count(*) FROM therapy_session), (SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'process_session')"
        )
        return sessions, jobs


@asynccontextmanager
async def served(settings: Settings, **overrides: Any) -> AsyncIterator[Served]:
    """Serves for as long as the context lasts. `overrides` replace providers of the container."""
    async with running(settings) as app:
        for name, provided in overrides.items():
            getattr(app, name).override(provided)

        @asynccontextmanager
        async def open_needs() -> AsyncIterator[HttpNeeds]:
            yield app.http()

        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            config = uvicorn.Config(
                create_app(open_needs, http_policy(settings)), lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server._serve([listening]))
            try:
                while not server.started:
                    assert not serving.done(), "the server ended before it began"
                    await asyncio.sleep(0.005)
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0, trust_env=False) as client:
                    yield Served(app, client, port)
            finally:
                server.should_exit = True
                await asyncio.wait_for(serving, 15)


def problem_of(response: httpx.Response, status: int) -> str:
    """The kind of a problem document, which must be whole and have this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    assert document["title"]
    kind: str = document["type"]
    return kind.removeprefix("urn:problem-type:emg-sessions:")
