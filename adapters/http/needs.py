"""What the HTTP surface needs of the rest of the program, by name and type. The root container fills it in; nothing here knows that one.

    Sessions = Annotated[SessionRegistry, needed(HttpNeeds.session_registry)]

A typo in a name is an AttributeError when the module is imported. A need that the root container forgot fails at the start, by name.
Everything is resolved once, when the application starts, so a handler's injection is one look into a dict.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

from dependency_injector import containers, providers
from fastapi import Depends
from starlette.requests import HTTPConnection

from adapters.http.observation import HttpMeter
from domain.ports import PatientAssignments, RateLimit, SessionAnalyticsRepository, SessionRegistry, Traces
from services.health import HealthWatch
from services.recording_intake import RecordingIntake
from services.session_access import SessionAccess
from services.session_erasure import SessionErasure
from services.session_signals import SessionSignals

T = TypeVar("T")


class HttpNeeds(containers.DeclarativeContainer):
    """One line a need."""

    session_analytics = providers.Dependency(instance_of=SessionAnalyticsRepository)  # type: ignore[type-abstract]  # a port, not a class
    session_registry = providers.Dependency(instance_of=SessionRegistry)  # type: ignore[type-abstract]
    patient_assignments = providers.Dependency(instance_of=PatientAssignments)  # type: ignore[type-abstract]
    session_access = providers.Dependency(instance_of=SessionAccess)
    session_signals = providers.Dependency(instance_of=SessionSignals)
    session_erasure = providers.Dependency(instance_of=SessionErasure)
    recording_intake = providers.Dependency(instance_of=RecordingIntake)
    upload_limit = providers.Dependency(instance_of=RateLimit)  # type: ignore[type-abstract]
    health = providers.Dependency(instance_of=HealthWatch)
    meter = providers.Dependency(instance_of=HttpMeter)  # type: ignore[type-abstract]
    traces = providers.Dependency(instance_of=Traces)  # type: ignore[type-abstract]


OpenNeeds = Callable[[], AbstractAsyncContextManager[HttpNeeds]]
"""Opens what the needs stand on, and closes it at the end."""


class Needed:
    """The needs, resolved."""

    def __init__(self, by_name: dict[str, Any]) -> None:
        self._by_need = {id(need): by_name[name] for name, need in HttpNeeds.providers.items()}

    def __getitem__(self, need: providers.Dependency[T]) -> T:
        return cast(T, self._by_need[id(need)])


@asynccontextmanager
async def resolved(open_needs: OpenNeeds) -> AsyncIterator[Needed]:
    """The needs, open for as long as the context lasts. Raises dependency_injector's Error, naming each, if any were forgotten."""
    async with open_needs() as needs:
        needs.check_dependencies()
        by_name: dict[str, Any] = {}
        for name in HttpNeeds.providers:
            provided = getattr(needs, name)()
            by_name[name] = await provided if inspect.isawaitable(provided) else provided
        yield Needed(by_name)


def needed(need: providers.Dependency[Any]) -> Any:
    """A parameter's default or annotation: FastAPI passes what the need was resolved to."""
    if not any(need is known for known in HttpNeeds.providers.values()):
        raise AttributeError(f"{need} is no need of the HTTP surface; add it to HttpNeeds")

    def provide(connection: HTTPConnection) -> Any:
        return connection.app.state.needed[need]

    return Depends(provide)
