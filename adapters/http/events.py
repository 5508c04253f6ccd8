"""A session's progress as it happens: server-sent events, for whoever watches a recording being processed."""

# No `from __future__ import annotations`: FastAPI has to see the annotations, not their text.

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from adapters.http.access import Access, Viewing, VisibleSession
from adapters.http.policy import HttpPolicy
from adapters.http.problems import TOO_MANY_STREAMS, Problem
from adapters.http.schemas import problems
from domain.errors import StorageError
from domain.session import SessionState, TherapySession

router = APIRouter(prefix="/api/v1/sessions", tags=["sessions"])

_LAST: Final = frozenset({SessionState.COMPLETED, SessionState.FAILED, SessionState.DUPLICATE})
# When an EventSource asks again after the end of a stream: long enough for a server to be started again.
_COME_AGAIN: Final = b"retry: 2000\n\n"
_BEAT: Final = b": still here\n\n"

FindAgain = Callable[[], Awaitable[TherapySession | None]]
"""The session as it is now; None if it is gone, or may no longer be seen."""


class EventStreams:
    """How many clients follow sessions; so many at most, for so long at most, and no longer than the server means to run."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._ending = asyncio.Event()
        self.open = 0

    def end(self) -> None:
        """Lets all followers go, who come again by themselves: for when the server is told to end, which would wait for them."""
        self._ending.set()

    def follow(self, session: TherapySession, find: FindAgain) -> AsyncIterator[bytes]:
        """The events of a session, which `find` looks at again. Raises a Problem with status 503 if there are too many followers."""
        if self.open >= self._policy.event_streams_max:
            raise Problem(TOO_MANY_STREAMS, "ask for the session again after a while instead", headers={"Retry-After": "5"})
        self.open += 1
        return self._events(session, find)

    async def _events(self, session: TherapySession, find: FindAgain) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        end_s = clock() + self._policy.event_stream_s_max
        beat_s = clock() + self._policy.event_beat_s
        told: bytes | None = None
        try:
            yield _COME_AGAIN
            while True:
                event = _event(session)
                if event != told:
                    yield event
                    told = event
                if session.state in _LAST or clock() >= end_s or self._ending.is_set():
                    return
                if clock() >= beat_s:  # So that nobody in between takes the connection for dead.
                    yield _BEAT
                    beat_s = clock() + self._policy.event_beat_s
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), self._policy.event_pause_s)
                    return
                try:
                    found = await find()
                except StorageError:  # The client asks again by itself, and may then be told why.
                    return
                if found is None:
                    return
                session = found
        finally:
            self.open -= 1


@router.get(
    "/{session_id}/events",
    summary="Follow a session",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events, each the session's state and progress. The stream ends when there is nothing more to "
            "come; after five minutes, and when the server is told to end, it ends before that: ask again.",
            "content": {"text/event-stream": {"example": 'retry: 2000\n\ndata: {"state":"processing","progress":0.5}\n\n'}},
        },
        **problems(400, 401, 403, 404, 503),
    },
)
async def follow_session(session: VisibleSession, viewer: Viewing, access: Access, request: Request) -> StreamingResponse:
    """What becomes of a session's recording, as it happens: an event at once, one for each change, and the last when it is done."""
    streams: EventStreams = request.app.state.event_streams
    events = streams.follow(session, partial(access.find, viewer, session.session_id))
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


def _event(session: TherapySession) -> bytes:
    facts = {
        "state": session.state.value,
        "progress": session.progress,
        "failure": session.failure,
        "same_as": None if session.same_as is None else str(session.same_as),
    }
    return f"data: {json.dumps(facts)}\n\n".encode()
