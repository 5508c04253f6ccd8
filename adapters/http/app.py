"""The application: routes, middlewares and errors, put together.

    app = create_app(open_needs, HttpPolicy())

To add a route: a router in a file of its own, and its line in ROUTERS. To add a middleware: a pure ASGI class, and its line in
`_in_front_of`. What they need of the rest of the program is a line in HttpNeeds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.http import analytics, batch, dashboard, events, health, patients, sessions, signals, uploads, viewer, webhooks
from adapters.http.access import Authentication, LoopbackOnly, comes_from_elsewhere
from adapters.http.analytics import AnalyticsAnswers, AnalyticsFastPath
from adapters.http.bodies import BodyLimits, BodyRefused, answer_refused
from adapters.http.dashboard import Dashboard
from adapters.http.events import EventStreams
from adapters.http.heads import HeadAsGet
from adapters.http.needs import HttpNeeds, Needed, OpenNeeds, resolved
from adapters.http.observation import HttpMeter, Observation
from adapters.http.openapi import document_of
from adapters.http.policy import HttpPolicy
from adapters.http.problems import UnforeseenErrors, answer_errors
from adapters.http.representations import Representations
from adapters.http.request_ids import RequestIds
from adapters.http.security_headers import SecurityHeaders
from adapters.http.signals import SignalForms
from adapters.http.tokens import Tokens, check_keys

API_VERSION: Final = "1.4.0"

ROUTERS: Final[tuple[APIRouter, ...]] = (
    analytics.router,
    batch.router,
    sessions.router,
    events.router,
    patients.router,
    signals.router,
    uploads.router,
    viewer.router,
    webhooks.router,
    health.router,
    dashboard.router,
)  # fmt: skip
"""All routes. Within a router the first that matches answers, and so among routers."""

_DESCRIPTION: Final = """
EMG recordings of therapy sessions: each is analysed once, and its analytics are read many times.

Every error is a problem document (RFC 9457, `application/problem+json`). Sessions that the bearer may not see are answered like sessions
that do not exist. Numbers that cannot be computed are `null`, never 0. A method that a path does not know is answered 405, and `Allow`
names those it knows.
"""


def _in_front_of(api: ASGIApp, policy: HttpPolicy, meter: Callable[[], HttpMeter]) -> ASGIApp:
    """All middlewares, the innermost first. Pure ASGI only: one BaseHTTPMiddleware costs more than all of these.

    They stand before FastAPI, not within: there, each request would first pass layers that cost more than all of ours.
    """
    edge = policy.edge
    front: ASGIApp = HeadAsGet(api)
    front = BodyLimits(front, default=edge.bodies, routes={webhooks.PATH: edge.event_bodies, uploads.PATH: edge.upload_bodies})
    if not policy.access.has_keys:
        front = LoopbackOnly(front)
    front = UnforeseenErrors(front)
    observation = front = Observation(front, meter=meter, log_requests=edge.log_requests)
    front = SecurityHeaders(front)
    request_ids = front = RequestIds(front)
    refuses = None if policy.access.has_keys else comes_from_elsewhere
    return AnalyticsFastPath(front, request_ids=request_ids, observation=observation, refuses=refuses)


class _Application(FastAPI):
    """FastAPI, with `front` standing before it."""

    front: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        scope["app"] = self
        await self.front(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI itself."""
        await super().__call__(scope, receive, send)


def create_app(open_needs: OpenNeeds, policy: HttpPolicy) -> FastAPI:
    """The application over what `open_needs` opens, which it does at its start (ASGI's lifespan) and undoes at its end."""
    check_keys(policy.access)
    representations = Representations(policy)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with resolved(open_needs) as needs:
            app.state.needed = needs
            app.state.analytics_answers = AnalyticsAnswers(app.state.authentication, needs, representations)
            yield

    def meter() -> HttpMeter:
        needs: Needed = app.state.needed
        return needs[HttpNeeds.meter]

    app = _Application(
        title="Emg-Sessions",
        version=API_VERSION,
        description=_DESCRIPTION,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # Ours tell what there is to tell.
        openapi_url="/openapi.json",
        docs_url=None,  # Their pages load scripts from elsewhere.
        redoc_url=None,
        redirect_slashes=False,
    )
    app.front = _in_front_of(app.behind, policy, meter)
    app.state.policy = policy
    app.state.representations = representations
    app.state.signal_forms = SignalForms()
    app.state.dashboard = Dashboard()
    app.state.event_streams = EventStreams(policy)
    app.state.authentication = Authentication(Tokens(policy.access) if policy.access.has_keys else None)
    answer_errors(app, [route for router in ROUTERS for route in router.routes])
    app.add_exception_handler(404, dashboard.no_such_page)
    app.add_exception_handler(BodyRefused, answer_refused)
    for router in ROUTERS:
        app.include_router(router)

    def openapi() -> dict[str, Any]:
        app.openapi_schema = app.openapi_schema or document_of(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app
