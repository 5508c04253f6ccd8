"""The dashboard: pages for people, made in the browser of what the API answers.

Every page is the same shell with a module of its own, which reads the address and fills it. Nothing of a patient is in the shell or in the
files, so they are given to whoever asks; the data are asked for with the visitor's token.
"""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

import hashlib
from functools import cached_property
from typing import Final, NamedTuple

from fastapi import APIRouter, Request, Response

from adapters.http.assets import STATIC, Assets
from adapters.http.problems import Kind, Problem

router = APIRouter(include_in_schema=False)

FILE_NOT_FOUND: Final = Kind("file-not-found", 404, "There is no such file")


class Page(NamedTuple):
    """A page: the module that fills it, one that asks before that for what it will show, and whether it draws plots."""

    module: str
    first: str | None = None
    plots: bool = False


_PAGES: Final = {
    "/": Page("sessions_page.js"),
    "/patients": Page("patients_page.js"),
    "/sign-in": Page("sign_in_page.js"),
    "/sessions/{session_id}": Page("session_page.js", first="first_requests.js", plots=True),
    "/patients/{patient_code}": Page("trends_page.js", plots=True),
    "/cache": Page("cache_page.js", plots=True),
}

_FOR_GOOD: Final = "public, max-age=31536000, immutable"


class Dashboard:
    """The dashboard's files, read when the first of them is asked for."""

    @cached_property
    def assets(self) -> Assets:
        """The files."""
        return Assets()

    @cached_property
    def _shells(self) -> dict[str, tuple[str, bytes]]:
        shells = {path: self.assets.shell(page.module, first=page.first, plots=page.plots) for path, page in _PAGES.items()}
        return {path: (f'"{hashlib.sha256(shell).hexdigest()[:32]}"', shell) for path, shell in shells.items()}

    def page(self, path: str, if_none_match: str) -> Response:
        """The shell of a page, or 304 if the browser has it."""
        etag, shell = self._shells[path]
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if etag in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(shell, headers=headers, media_type="text/html")


async def _page(request: Request) -> Response:
    dashboard: Dashboard = request.app.state.dashboard
    return dashboard.page(request.scope["route"].path, request.headers.get("if-none-match", ""))


async def no_such_page(request: Request, _: Exception) -> Response:
    """What is answered where no route is: a page that says so to whoever looks with a browser, a problem to everybody else."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        dashboard: Dashboard = request.app.state.dashboard
        page = dashboard.page("/sign-in", "")
        return Response(page.body, 404, headers={"Cache-Control": "no-store"}, media_type="text/html")
    return Problem(Kind("", 404, "Not Found")).response()


for _path in _PAGES:
    router.add_api_route(_path, _page, methods=["GET", "HEAD"])


@router.get(f"{STATIC}/{{digest}}/{{name}}")
async def file(request: Request, digest: str, name: str) -> Response:
    """A file of the dashboard, for good: another content has another address."""
    dashboard: Dashboard = request.app.state.dashboard
    asset = dashboard.assets.find(digest, name)
    if asset is None:
        raise Problem(FILE_NOT_FOUND, "the dashboard has changed since this page was opened; load the page again")
    accept_encoding = request.headers.get("accept-encoding", "").encode("latin-1") or None
    coding, body = await dashboard.assets.coded(digest, name, asset, accept_encoding)
    headers = {"Cache-Control": _FOR_GOOD, "Vary": "Accept-Encoding"}
    if coding != "identity":
        headers["Content-Encoding"] = coding
    return Response(body, headers=headers, media_type=asset.media_type)
