"""Queues the processing of sessions, each in the transaction that registers it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from domain.mvc import GivenMvc
from domain.ports import ProcessingQueue, Submitted, Traces
from domain.session import SessionId, TherapySession
from domain.traces import NoTraces

QUEUE: Final = "sessions"
TASK: Final = "process_session"

Together = Callable[[TherapySession], tuple[str, Mapping[str, object]]]

# procrastinate's own function for deferring jobs, whose name carries its version. Calling it on the connection of our transaction is what
# procrastinate's connectors do too; they bring a connection of their own.
#
# The lock is the session: of all its jobs one runs at a time. There is no queueing lock: a session is queued once because it is registered
# once, and again when it is given other MVC values. A job too many would find nothing left to do; while a queueing lock would make the
# retry of a running job fail.
_DEFER: Final = """
procrastinate_defer_jobs_v1(ARRAY[
  ROW(:queue, :task, 0, :session_id, NULL, CAST(:arguments AS jsonb), NULL)::procrastinate_job_to_defer_v1
])
"""
_DEPTH: Final = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo' AND queue_name = :queue"


class Submissions(Protocol):
    """Registers sessions and evaluates SQL in the same transaction (adapters/postgres/submissions.py)."""

    async def submit(self, session: TherapySession, *, together_with: Together) -> Submitted:
        """Registers a session, or receives one that failed again, and evaluates `together_with`: both or neither."""

    async def remeasure(self, session_id: SessionId, mvc: GivenMvc, *, together_with: Together) -> TherapySession | None:
        """Gives a session other MVC values, receives it again, and evaluates `together_with`: both or neither."""

    async def execute(self, sql: str, values: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """Runs one statement; its rows."""


class ProcrastinateProcessingQueue(ProcessingQueue):
    """The queue, for those who submit. It needs no connection of its own; the workers do (adapters/queue/worker.py)."""

    def __init__(self, submissions: Submissions, traces: Traces | None = None) -> None:
        self._submissions = submissions
        self._traces = traces or NoTraces()

    async def submit(self, session: TherapySession) -> Submitted:
        """See the port."""
        return await self._submissions.submit(session, together_with=partial(_defer, trace=self._traces.here()))

    async def remeasure(self, session_id: SessionId, mvc: GivenMvc) -> TherapySession | None:
        """See the port."""
        return await self._submissions.remeasure(session_id, mvc, together_with=partial(_defer, trace=self._traces.here()))

    async def depth(self) -> int:
        """See the port. Those that wait for their next attempt are among them."""
        rows = await self._submissions.execute(_DEPTH, {"queue": QUEUE})
        return int(rows[0][0])


def _defer(session: TherapySession, *, trace: str | None) -> tuple[str, dict[str, object]]:
    session_id = str(session.session_id)
    arguments = {"session_id": session_id} | ({"trace": trace} if trace is not None else {})
    return _DEFER, {"queue": QUEUE, "task": TASK, "session_id": session_id, "arguments": json.dumps(arguments)}
