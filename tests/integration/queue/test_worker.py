"""Workers over procrastinate: what they do to its tables, and what they survive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.postgres.submissions import PostgresSubmissions
from adapters.queue.connections import QueueConnections
from adapters.queue.jobs import ProcrastinateProcessingQueue
from adapters.queue.worker import ProcrastinateWorker
from domain.errors import InvalidRecording
from domain.ports import ProcessingWorker
from domain.processing import ProcessingPolicy
from domain.session import SessionState
from tests.contracts.processing import Practice, Queue
from tests.contracts.test_processing_queue import PATIENCE_S, QUICK, ended, submitted
from tests.patience import eventually
from tests.proxies import Proxy
from tests.strategies import some_session


@pytest.fixture
def queue(fresh_engine: AsyncEngine, queue_connections: QueueConnections) -> Queue:
    """A queue whose workers give each other up quickly."""

    def worker(policy: ProcessingPolicy) -> ProcessingWorker:
        return ProcrastinateWorker(queue_connections, policy, stalled_s=1.5, kept_hours=24)

    return Queue(PostgresSessionRegistry(fresh_engine), ProcrastinateProcessingQueue(PostgresSubmissions(fresh_engine)), worker)


async def told(engine: AsyncEngine, sql: str, **values: object) -> list[tuple[Any, ...]]:
    async with engine.begin() as connection:
        answer = await connection.execute(sa.text(sql), values)
        return [tuple(row) for row in answer] if answer.returns_rows else []


async def test_a_session_that_is_given_up_leaves_its_job_as_failed(queue: Queue, fresh_engine: AsyncEngine) -> None:
    practice = Practice(queue.registry)
    good, bad = await submitted(queue, 2)
    practice.errors[bad.session_id] = [InvalidRecording("a.c3d", "the file is truncated")]
    async with queue.working(practice, QUICK):
        await ended(practice, [good, bad])
    rows = await told(fresh_engine, "SELECT lock, status::text, attempts FROM procrastinate_jobs WHERE queue_name = 'sessions' ORDER BY id")
    assert rows == [(str(good.session_id), "succeeded", 1), (str(bad.session_id), "failed", 1)]
    known = await queue.registry.find(bad.session_id)
    assert known is not None
    assert (known.state, known.failure) == (SessionState.FAILED, "a.c3d: the file is truncated")


@pytest.mark.parametrize("dead", ["worker without a sign of life", "worker that is not known any more"])
async def test_the_job_of_a_dead_worker_is_done_by_another(queue: Queue, fresh_engine: AsyncEngine, dead: str) -> None:
    practice = Practice(queue.registry)
    [session] = await submitted(queue, 1)
    [(worker_id,)] = await told(fresh_engine, "SELECT worker_id FROM procrastinate_register_worker_v1()")
    await told(fresh_engine, "SELECT procrastinate_fetch_job_v2(ARRAY['sessions'], :worker_id)", worker_id=worker_id)
    if dead == "worker without a sign of life":
        await told(fresh_engine, "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
    else:
        await told(fresh_engine, "SELECT procrastinate_unregister_worker_v1(:worker_id)", worker_id=worker_id)
    async with queue.working(practice, QUICK, count=2):
        await ended(practice, [session])
    assert practice.attempts[session.session_id] == 1
    assert await told(fresh_engine, "SELECT status::text, attempts FROM procrastinate_jobs WHERE queue_name = 'sessions'") == [
        ("succeeded", 2)
    ]


async def test_a_session_whose_workers_all_die_is_given_up(queue: Queue, fresh_engine: AsyncEngine) -> None:
    practice = Practice(queue.registry)
    [session] = await submitted(queue, 1)
    await told(fresh_engine, "UPDATE procrastinate_jobs SET attempts = :attempts", attempts=QUICK.attempts_max)
    async with queue.working(practice, QUICK):
        await ended(practice, [session])
    assert practice.attempts[session.session_id] == 0
    assert "the worker died each of the 3 times" in practice.given_up[session.session_id]


async def test_the_job_of_a_living_worker_is_left_to_it(queue: Queue, fresh_engine: AsyncEngine) -> None:
    practice = Practice(queue.registry, hold=asyncio.Event())
    [session] = await submitted(queue, 1)

    async def attempts() -> int:
        return practice.attempts[session.session_id]

    async with queue.working(practice, QUICK, count=2):
        await eventually(attempts, lambda number: number == 1, within_s=PATIENCE_S)
        before = await told(fresh_engine, "SELECT max(last_heartbeat) FROM procrastinate_workers")

        async def beats() -> list[tuple[Any, ...]]:
            return await told(fresh_engine, "SELECT id FROM procrastinate_workers WHERE last_heartbeat > :then", then=later(before))

        await eventually(beats, lambda rows: len(rows) == 2, within_s=PATIENCE_S)  # Both live longer than it takes to count as dead.
        assert practice.hold is not None
        practice.hold.set()
        await ended(practice, [session])
    assert practice.attempts[session.session_id] == 1


def later(rows: list[tuple[Any, ...]]) -> Any:
    return rows[0][0] + timedelta(seconds=2)


async def end_connections(engine: AsyncEngine) -> None:
    """As a restart of the server does, for the workers alone."""
    await told(
        engine,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'emg-sessions worker' "
        "AND datname = current_database()",
    )


async def test_a_worker_comes_back_after_its_connections_were_ended(queue: Queue, fresh_engine: AsyncEngine) -> None:
    practice = Practice(queue.registry)
    async with queue.working(practice, QUICK):
        for _ in range(3):
            sessions = await submitted(queue, 3)
            await end_connections(fresh_engine)
            await ended(practice, sessions)
        # A job whose end could not be told is put back, and ends at once.
        await eventually(queue.jobs.depth, lambda depth: depth == 0, within_s=PATIENCE_S)


async def test_a_worker_without_a_database_waits_and_stops_when_it_is_told(
    queue: Queue, queue_connections: QueueConnections, fresh_database_url: str
) -> None:
    practice = Practice(queue.registry)
    async with Proxy.to_postgres(fresh_database_url) as proxy:
        connections = QueueConnections(database_url=proxy.postgres_url(fresh_database_url), connect_s=1.0, statement_s=1.0, pool_wait_s=1.0)
        worker = ProcrastinateWorker(connections, replace(QUICK, drain_s=0.5), stalled_s=1.5, kept_hours=24)
        working = asyncio.create_task(worker.run(practice, stop=(stop := asyncio.Event())))
        await ended(practice, await submitted(queue, 1))
        proxy.answering.clear()
        sessions = await submitted(queue, 1)
        await asyncio.sleep(2.0)  # Whatever is asked meanwhile gets no answer.
        proxy.answering.set()
        await ended(practice, sessions)
        proxy.answering.clear()
        stop.set()
        async with asyncio.timeout(30):
            await working
        proxy.answering.set()


async def test_a_job_whose_end_could_not_be_written_is_ended_later(queue: Queue, fresh_engine: AsyncEngine) -> None:
    """The tables refuse to finish the job while it ends; its worker lives on, so nobody else will look for it."""
    practice = Practice(queue.registry, hold=asyncio.Event())
    [session] = await submitted(queue, 1)

    async def attempts() -> int:
        return practice.attempts[session.session_id]

    async with queue.working(practice, QUICK):
        await eventually(attempts, lambda number: number == 1, within_s=PATIENCE_S)
        await told(fresh_engine, "ALTER FUNCTION procrastinate_finish_job_v1 RENAME TO procrastinate_finish_job_gone")
        assert practice.hold is not None
        practice.hold.set()
        await ended(practice, [session])
        await asyncio.sleep(0.2)
        await told(fresh_engine, "ALTER FUNCTION procrastinate_finish_job_gone RENAME TO procrastinate_finish_job_v1")

        async def status() -> list[tuple[Any, ...]]:
            return await told(fresh_engine, "SELECT status::text FROM procrastinate_jobs WHERE queue_name = 'sessions'")

        await eventually(status, lambda rows: rows == [("succeeded",)], within_s=PATIENCE_S)
    assert practice.attempts[session.session_id] == 2


async def test_a_worker_that_was_given_up_does_not_end_the_job_of_its_successor(queue: Queue, fresh_engine: AsyncEngine) -> None:
    """It was frozen for so long that its job is another's: what it then says about the job is not heard."""
    practice = Practice(queue.registry, hold=asyncio.Event())
    [session] = await submitted(queue, 1)

    async def attempts() -> int:
        return practice.attempts[session.session_id]

    patient = replace(QUICK, concurrency=1)
    working = asyncio.create_task(queue.worker(patient).run(practice, stop=(stop := asyncio.Event())))
    try:
        await eventually(attempts, lambda number: number == 1, within_s=PATIENCE_S)
        # As another worker would have done, which now runs the job itself.
        await told(
            fresh_engine,
            "SELECT procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL) FROM procrastinate_jobs WHERE queue_name = 'sessions'",
        )
        [(other,)] = await told(fresh_engine, "SELECT worker_id FROM procrastinate_register_worker_v1()")
        [(fetched,)] = await told(fresh_engine, "SELECT (procrastinate_fetch_job_v2(ARRAY['sessions'], :other)).id", other=other)
        assert fetched is not None
        assert practice.hold is not None
        practice.hold.set()
        await ended(practice, [session])
        stop.set()
        await working
        rows = await told(fresh_engine, "SELECT status::text, worker_id FROM procrastinate_jobs WHERE queue_name = 'sessions'")
        assert rows == [("doing", other)]
    finally:
        stop.set()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_a_worker_that_counts_as_dead_lets_go_of_its_jobs_and_begins_anew(queue: Queue, fresh_engine: AsyncEngine) -> None:
    practice = Practice(queue.registry, hold=asyncio.Event())
    [session] = await submitted(queue, 1)

    async def attempts() -> int:
        return practice.attempts[session.session_id]

    async with queue.working(practice, QUICK):
        await eventually(attempts, lambda number: number == 1, within_s=PATIENCE_S)
        await told(fresh_engine, "DELETE FROM procrastinate_workers")
        await eventually(attempts, lambda number: number == 2, within_s=PATIENCE_S)
        assert practice.hold is not None
        practice.hold.set()
        await ended(practice, [session])
    assert practice.ended[session.session_id] == 1


async def test_finished_jobs_are_forgotten_in_time(queue: Queue, fresh_engine: AsyncEngine) -> None:
    practice = Practice(queue.registry)
    old = await submitted(queue, 3)
    practice.errors[old[0].session_id] = [InvalidRecording("a.c3d", "…")]
    async with queue.working(practice, QUICK):
        await ended(practice, old)
    await told(fresh_engine, "UPDATE procrastinate_events SET at = at - interval '25 hours'")
    recent = await submitted(queue, 1)
    async with queue.working(practice, QUICK):
        await ended(practice, recent)
        await told(
            fresh_engine,
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('housekeeping', 'remove_old_jobs', '{\"timestamp\": 1}')",
        )

        async def left() -> list[tuple[Any, ...]]:
            return await told(fresh_engine, "SELECT lock FROM procrastinate_jobs WHERE queue_name = 'sessions'")

        await eventually(left, lambda rows: rows == [(str(recent[0].session_id),)], within_s=PATIENCE_S)


async def test_a_job_that_names_no_session_fails_alone(queue: Queue, fresh_engine: AsyncEngine) -> None:
    practice = Practice(queue.registry)
    await told(
        fresh_engine,
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('sessions', 'process_session', '{\"session_id\": \"x\"}'), "
        "('sessions', 'no_such_task', '{}')",
    )
    sessions = await submitted(queue, 2)
    async with queue.working(practice, QUICK):
        await ended(practice, sessions)
    rows = await told(
        fresh_engine, "SELECT status::text, count(*) FROM procrastinate_jobs WHERE queue_name = 'sessions' GROUP BY status ORDER BY 1"
    )
    assert sorted(rows) == [("failed", 2), ("succeeded", 2)]


@pytest.fixture
async def events() -> AsyncIterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


async def test_logs_tell_what_happened_with_ids_alone(
    queue: Queue, events: list[Any], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    practice = Practice(queue.registry)
    good, shaky, bad = (some_session(file_name="P-17 Erika.c3d", recording_sha256=None) for _ in range(3))
    practice.errors = {
        shaky.session_id: [ValueError("patient Erika"), None],
        bad.session_id: [InvalidRecording("P-17 Erika.c3d", "the file is truncated")],
    }
    for session in (good, shaky, bad):
        await queue.jobs.submit(session)
    async with queue.working(practice, QUICK):
        await ended(practice, [good, shaky, bad])
    assert "Erika" not in str([event for event in events if event["log_level"] != "debug"])
    told_of = {(event["event"], event.get("session_id"), event.get("error")) for event in events}
    assert ("session_processed", str(good.session_id), None) in told_of
    assert ("session_will_be_tried_again", str(shaky.session_id), "ValueError") in told_of
    assert ("session_given_up", str(bad.session_id), "InvalidRecording") in told_of
    written = capfd.readouterr()
    assert (written.out, written.err) == ("", "")


async def test_connections_are_given_back(queue: Queue, queue_connections: QueueConnections, fresh_engine: AsyncEngine) -> None:
    practice = Practice(queue.registry)
    for _ in range(2):
        async with queue.working(practice, QUICK, count=2):
            await ended(practice, await submitted(queue, 2))
    assert await told(fresh_engine, "SELECT count(*) FROM procrastinate_workers") == [(0,)]

    async def connected() -> int:
        async with await psycopg.AsyncConnection.connect(queue_connections.conninfo()) as connection, connection.cursor() as cursor:
            row = await (
                await cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'emg-sessions worker' AND datname = current_database()"
                )
            ).fetchone()
        assert row is not None
        return int(row[0])

    await eventually(connected, lambda number: number == 0)
