"""The ASGI application, for `emg-sessions serve` and for whoever brings a server of their own:

uvicorn --factory adapters.entrypoints.asgi:create
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from adapters.http.app import create_app
from adapters.http.needs import HttpNeeds
from adapters.settings import Settings, load_settings
from container import http_policy, resolve, running


def create(settings: Settings | None = None) -> FastAPI:
    """The application with its container, which opens and closes with it. Settings are read from the environment if not given."""
    chosen = settings or load_settings()

    @asynccontextmanager
    async def open_needs() -> AsyncIterator[HttpNeeds]:
        async with running(chosen) as app:
            await resolve(app.ready)
            yield app.http()

    return create_app(open_needs, http_policy(chosen))
