"""HEAD where probes and proxies ask with it: as GET, without the body."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Not everywhere: the GET of a stream of events ends with its client, who has nothing to wait for here.
_PATHS: Final = re.compile(r"/health(/live|/ready)?|/metrics|/api/v1/sessions(/[^/]+)?")


def answers_head(path: str) -> bool:
    """Whether HEAD is answered there if GET is."""
    return _PATHS.fullmatch(path) is not None


class HeadAsGet:
    """A middleware that lets the routes answer HEAD as they answer GET."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or not answers_head(scope["path"]):
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, without_body)
