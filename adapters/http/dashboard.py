"""The dashboard: pages for people, made in the browser of what the API answers.

Every page is one and the same shell; our modules in `static/` read the address and fill it. Nothing of a patient is in the shell or in the
files, so they are given to whoever asks; the data are asked for with the visitor's token.
"""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

import hashlib
from functools import cached_property
from typing import Final

from fastapi import APIRouter, Request, Response

from adapters.http.assets import STATIC, Assets
from adapters.http.problems import Kind, Problem

router = APIRouter(include_in_schema=False)

FILE_NOT_FOUND: Final = Kind("file-not-found", 404, "There is no such file")

_PAGES: Final = {
    "/": False,
    "/patients": False,
    "/sign-in": False,
    "/sessions/{session_id}": True,
    "/patients/{patient_code}": True,
    "/cache": True,
}
"""The pages' addresses, and whether they draw plots."""

_FOR_GOOD: Final = "public, max-age=31536000, immutable"


class Dashboard:
    """The dashboard's files, read when the first of them is asked for."""

    @cached_property
    def assets(self) -> Assets:
        """The files."""
        return Assets()

    @cached_property
    def _shells(self) -> dict[bool, tuple[str, bytes]]:
        shells = {plots: self.assets.shell(plots=plots) for plots in (True, False)}
        return {plots: (f'"{hashlib.sha256(shell).hexdigest()[:32]}"', shell) for plots, shell in shells.items()}

    def page(self, request: Request, *, plots: bool) -> Response:
        """The shell, or 304 if the browser has this one."""
        etag, shell = self._shells[plots]
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(shell, headers=headers, media_type="text/html")


async def _page(request: Request) -> Response:
    dashboard: Dashboard = request.app.state.dashboard
    return dashboard.page(request, plots=_PAGES[request.scope["route"].path])


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
