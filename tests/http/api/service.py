"""The service as tests ask it: the whole application over real servers, by several people."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import jwt
from fastapi import FastAPI

from adapters.http.app import create_app
from adapters.http.needs import HttpNeeds
from adapters.settings import Settings
from container import Container, http_policy, resolve, running
from domain.analytics import SessionAnalytics
from domain.ports import PatientAssignments, SessionAnalyticsRepository, SessionRegistry
from domain.session import SessionState, TherapySession
from tests.strategies import new_id, some_analytics, some_session

SECRET: Final = "a secret of the tests, of thirty-two bytes and more"
BASE_URL: Final = "http://127.0.0.1"
ROLES: Final = ("therapist", "researcher", "admin")


def token(subject: str = "somebody", role: str | None = "admin", *, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token; a claim that is None is left out."""
    whole = {"sub": subject, "role": role, "exp": time.time() + 600} | claims
    return jwt.encode({name: value for name, value in whole.items() if value is not None}, secret, algorithm)


@dataclass
class Service:
    """The application, and a look behind it."""

    app: FastAPI
    container: Container
    repository: SessionAnalyticsRepository
    registry: SessionRegistry
    assignments: PatientAssignments

    def asked_by(self, subject: str = "somebody", role: str = "admin", **headers: str) -> httpx.AsyncClient:
        """A client with a token of this role."""
        return self.client(**{"Authorization": f"Bearer {token(subject, role)}"} | headers)

    def client(self, **headers: str) -> httpx.AsyncClient:
        """A client without a token; it sends no header that a test did not choose."""
        client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=BASE_URL)
        for name in set(client.headers) - {name.lower() for name in headers}:
            del client.headers[name]
        client.headers.update(headers)
        return client

    async def session(self, *, patient: str | None = None, analysed: bool = True, **changes: Any) -> TherapySession:
        """A registered session; `analysed`: completed, with analytics."""
        given = {"patient_code": patient, "registered_at": datetime.now(UTC)} | changes
        session = await self.registry.register(some_session(new_id(), **given))
        if analysed:
            await self.registry.note(session.session_id, SessionState.COMPLETED, progress=1.0)
            await self.repository.save(some_analytics(session.session_id))
        return session

    async def analytics(self, session: TherapySession) -> SessionAnalytics:
        answer = await self.repository.get(session.session_id)
        assert answer is not None
        return answer.analytics


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Service]:
    """The service, open."""
    async with running(settings) as container:

        @asynccontextmanager
        async def open_needs() -> AsyncIterator[HttpNeeds]:
            yield container.http()

        app = create_app(open_needs, http_policy(settings))
        async with app.router.lifespan_context(app):
            yield Service(
                app,
                container,
                await resolve(container.session_analytics),
                await resolve(container.session_registry),
                await resolve(container.patient_assignments),
            )
