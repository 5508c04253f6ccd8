"""What every ProcessingQueue and its ProcessingWorkers promise."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from domain.errors import AnalysisFailed, InvalidParameters, InvalidRecording, StorageUnavailable
from domain.mvc import GivenMvc
from domain.ports import Submitted
from domain.processing import ProcessingPolicy
from domain.session import SessionState, TherapySession
from tests.contracts.processing import Practice, Queue
from tests.patience import eventually
from tests.strategies import new_id, some_session

QUICK = ProcessingPolicy(concurrency=2, attempts_max=3, backoff_s=0.01, backoff_s_max=0.02, drain_s=20.0)
PATIENCE_S = 30.0


async def submitted(queue: Queue, count: int) -> list[TherapySession]:
    sessions = [some_session(recording_sha256=None, size_bytes=None) for _ in range(count)]
    for session in sessions:
        assert (await queue.jobs.submit(session)).new
    return sessions


async def ended(practice: Practice, sessions: list[TherapySession]) -> None:
    """Waits until all were processed or given up."""

    async def left() -> list[TherapySession]:
        return [session for session in sessions if session.session_id not in {*practice.ended, *practice.given_up}]

    await eventually(left, lambda left: not left, within_s=PATIENCE_S)


# Submitting


async def test_a_session_is_registered_and_waits(queue: Queue) -> None:
    session = some_session()
    assert await queue.jobs.depth() == 0
    assert await queue.jobs.submit(session) == Submitted(session, new=True)
    assert await queue.registry.find(session.session_id) == session
    assert await queue.jobs.depth() == 1


async def test_a_session_that_is_submitted_again_waits_once(queue: Queue) -> None:
    session = some_session()
    await queue.jobs.submit(session)
    assert await queue.jobs.submit(replace(session, file_name="another.c3d")) == Submitted(session, new=False)
    assert await queue.jobs.depth() == 1


async def test_another_session_with_the_same_recording_is_the_known_one(queue: Queue) -> None:
    session = some_session()
    await queue.jobs.submit(session)
    other = some_session(recording_sha256=session.recording_sha256)
    assert await queue.jobs.submit(other) == Submitted(session, new=False)
    assert await queue.registry.find(other.session_id) is None
    assert await queue.jobs.depth() == 1


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.FAILED])
async def test_a_session_that_is_known_is_not_queued(queue: Queue, state: SessionState) -> None:
    session = some_session(state=state)
    await queue.registry.register(session)
    assert await queue.jobs.submit(some_session(session.session_id)) == Submitted(session, new=False)
    assert await queue.jobs.depth() == 0


async def test_a_session_that_failed_is_received_again(queue: Queue) -> None:
    session = some_session(state=SessionState.FAILED, failure="because", progress=0.5)
    await queue.registry.register(session)
    received = replace(session, state=SessionState.RECEIVED, failure=None, progress=0.0)
    assert await queue.jobs.submit(session) == Submitted(received, new=False)
    assert await queue.registry.find(session.session_id) == received
    assert await queue.jobs.depth() == 1
    assert await queue.jobs.submit(session) == Submitted(received, new=False)
    assert await queue.jobs.depth() == 1


async def test_a_session_that_is_submitted_by_many_at_once_is_new_to_one_and_waits_once(queue: Queue) -> None:
    session = some_session(recording_sha256=None)
    answers = await asyncio.gather(*(queue.jobs.submit(session) for _ in range(8)))
    assert sum(answer.new for answer in answers) == 1
    assert {answer.session for answer in answers} == {session}
    assert await queue.jobs.depth() == 1


MVC, OTHER_MVC = GivenMvc(4.5e-4), GivenMvc(None, (("CH1", 3e-4),))


async def test_a_session_is_submitted_with_its_mvc_values_and_keeps_them(queue: Queue) -> None:
    session = some_session(mvc=MVC)
    assert await queue.jobs.submit(session) == Submitted(session, new=True)
    assert await queue.jobs.submit(replace(session, mvc=OTHER_MVC)) == Submitted(session, new=False)
    await queue.registry.note(session.session_id, SessionState.FAILED, failure="because")
    assert await queue.jobs.submit(replace(session, mvc=OTHER_MVC)) == Submitted(session, new=False)


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.DUPLICATE])
async def test_a_session_with_other_mvc_values_is_received_again(queue: Queue, state: SessionState) -> None:
    session = some_session(state=state, progress=0.7, failure="because", mvc=MVC)
    await queue.registry.register(session)
    received = replace(session, mvc=OTHER_MVC, state=SessionState.RECEIVED, progress=0.0, failure=None)
    for _ in range(2):  # The second time it has them.
        assert await queue.jobs.remeasure(session.session_id, OTHER_MVC) == received
        assert await queue.registry.find(session.session_id) == received
        assert await queue.jobs.depth() == 1


async def test_a_duplicate_with_other_mvc_values_stays_one_and_is_queued(queue: Queue) -> None:
    duplicate = some_session(recording_sha256=None, state=SessionState.DUPLICATE, progress=1.0, same_as=new_id())
    await queue.registry.register(duplicate)
    assert await queue.jobs.remeasure(duplicate.session_id, MVC) == replace(duplicate, mvc=MVC)
    assert await queue.jobs.depth() == 1


async def test_mvc_values_of_a_session_that_nobody_knows_queue_nothing(queue: Queue) -> None:
    assert await queue.jobs.remeasure(new_id(), MVC) is None
    assert await queue.jobs.depth() == 0


async def test_the_same_mvc_values_given_by_many_at_once_queue_a_session_once(queue: Queue) -> None:
    session = some_session(state=SessionState.COMPLETED, progress=1.0)
    await queue.registry.register(session)
    received = replace(session, mvc=MVC, state=SessionState.RECEIVED, progress=0.0)
    assert await asyncio.gather(*(queue.jobs.remeasure(session.session_id, MVC) for _ in range(8))) == [received] * 8
    assert await queue.jobs.depth() == 1


# Working


async def test_what_is_queued_is_processed_once_before_and_while_workers_run(queue: Queue) -> None:
    practice = Practice(queue.registry)
    before = await submitted(queue, 5)
    async with queue.working(practice, QUICK, count=2):
        await ended(practice, before)
        after = await submitted(queue, 5)
        await ended(practice, after)
    assert practice.attempts == dict.fromkeys((session.session_id for session in [*before, *after]), 1)
    assert await queue.jobs.depth() == 0


async def test_a_worker_processes_as_many_at_once_as_it_may(queue: Queue) -> None:
    practice = Practice(queue.registry, hold=asyncio.Event())
    sessions = await submitted(queue, 5)

    async def running() -> int:
        return len(practice.running)

    async with queue.working(practice, replace(QUICK, concurrency=3)):
        await eventually(running, lambda number: number == 3, within_s=PATIENCE_S)
        assert practice.hold is not None
        practice.hold.set()
        await ended(practice, sessions)
    assert practice.at_once_max == 3


@pytest.mark.parametrize("error", [StorageUnavailable("…"), AnalysisFailed("a.c3d", "its process died"), ZeroDivisionError("…")], ids=repr)
async def test_a_trouble_that_passes_is_survived(queue: Queue, error: Exception) -> None:
    practice = Practice(queue.registry)
    async with queue.working(practice, QUICK):
        [session] = await submitted(queue, 1)
        practice.errors[session.session_id] = [error, error, None]
        await ended(practice, [session])
    assert practice.attempts[session.session_id] == 3
    assert practice.ended[session.session_id] == 1
    assert practice.given_up == {}


async def test_a_trouble_that_stays_is_given_up_after_so_many_attempts(queue: Queue) -> None:
    practice = Practice(queue.registry)
    sessions = [some_session(recording_sha256=None) for _ in range(2)]
    practice.errors = {
        sessions[0].session_id: [AnalysisFailed("a.c3d", "its process died")],
        sessions[1].session_id: [ZeroDivisionError("of patient P-1")],
    }
    for session in sessions:
        await queue.jobs.submit(session)
    async with queue.working(practice, QUICK):
        await ended(practice, sessions)
    assert list(practice.attempts.values()) == [3, 3]
    assert practice.given_up[sessions[0].session_id] == "a.c3d: its process died (tried 3 times)"
    assert practice.given_up[sessions[1].session_id] == "unforeseen ZeroDivisionError (tried 3 times)"
    assert await queue.jobs.depth() == 0


@pytest.mark.parametrize("error", [InvalidRecording("a.c3d", "the file is truncated"), InvalidParameters("no such channel")], ids=repr)
async def test_a_recording_that_is_wrong_is_tried_once(queue: Queue, error: Exception) -> None:
    practice = Practice(queue.registry)
    session = some_session()
    practice.errors[session.session_id] = [error]
    await queue.jobs.submit(session)
    async with queue.working(practice, QUICK):
        await ended(practice, [session])
    assert practice.attempts[session.session_id] == 1
    assert practice.given_up == {session.session_id: str(error)}


async def test_a_session_that_failed_and_is_submitted_again_is_tried_as_often_again(queue: Queue) -> None:
    practice = Practice(queue.registry)
    session = some_session()
    practice.errors[session.session_id] = [StorageUnavailable("…")] * 4 + [None]
    async with queue.working(practice, QUICK):
        await queue.jobs.submit(session)
        await ended(practice, [session])
        assert practice.attempts[session.session_id] == 3
        assert (await queue.jobs.submit(session)).session.state is SessionState.RECEIVED

        async def processed() -> int:
            return practice.ended[session.session_id]

        await eventually(processed, lambda times: times == 1, within_s=PATIENCE_S)
    assert practice.attempts[session.session_id] == 5


async def test_a_failure_that_cannot_be_noted_is_noted_later(queue: Queue) -> None:
    practice = Practice(queue.registry, trouble_giving_up=[StorageUnavailable("…") for _ in range(3)])
    session = some_session()
    practice.errors[session.session_id] = [StorageUnavailable("the database is gone")]
    await queue.jobs.submit(session)
    async with queue.working(practice, QUICK):
        await ended(practice, [session])
    assert practice.attempts[session.session_id] == 3
    registered = await queue.registry.find(session.session_id)
    assert registered is not None
    assert registered.state is SessionState.FAILED


# Stopping


async def test_a_worker_that_is_to_stop_ends_what_runs_and_takes_nothing_new(queue: Queue) -> None:
    practice = Practice(queue.registry, hold=asyncio.Event())
    sessions = await submitted(queue, 5)

    async def running() -> int:
        return len(practice.running)

    async with queue.working(practice, QUICK) as stop:
        await eventually(running, lambda number: number == 2, within_s=PATIENCE_S)
        stop.set()
        await asyncio.sleep(0.1)
        assert practice.hold is not None
        practice.hold.set()
    assert sum(practice.ended.values()) == 2
    assert await queue.jobs.depth() == 3
    async with queue.working(practice, QUICK):
        await ended(practice, sessions)
    assert set(practice.attempts.values()) == {1}


async def test_what_does_not_end_in_time_is_processed_by_another(queue: Queue) -> None:
    practice = Practice(queue.registry, hold=asyncio.Event())
    sessions = await submitted(queue, 2)

    async def running() -> int:
        return len(practice.running)

    async with queue.working(practice, replace(QUICK, drain_s=0.05)):
        await eventually(running, lambda number: number == 2, within_s=PATIENCE_S)
    assert practice.running == set()
    assert await queue.jobs.depth() == 2
    practice.hold = None
    async with queue.working(practice, QUICK):
        await ended(practice, sessions)
    assert practice.ended == dict.fromkeys((session.session_id for session in sessions), 1)


async def test_a_worker_that_is_cancelled_ends_at_once_and_loses_nothing(queue: Queue) -> None:
    practice = Practice(queue.registry, hold=asyncio.Event())
    sessions = await submitted(queue, 2)
    working = asyncio.create_task(queue.worker(QUICK).run(practice, stop=asyncio.Event()))

    async def running() -> int:
        return len(practice.running)

    await eventually(running, lambda number: number == 2, within_s=PATIENCE_S)
    working.cancel()
    async with asyncio.timeout(QUICK.drain_s / 2):
        with pytest.raises(asyncio.CancelledError):
            await working
    assert practice.running == set()
    assert await queue.jobs.depth() == 2
    practice.hold = None
    async with queue.working(practice, QUICK):
        await ended(practice, sessions)


async def test_a_worker_that_is_to_stop_before_it_begins_takes_nothing(queue: Queue) -> None:
    practice, stop = Practice(queue.registry), asyncio.Event()
    await submitted(queue, 1)
    stop.set()
    await queue.worker(QUICK).run(practice, stop=stop)
    assert await queue.jobs.depth() == 1
    assert practice.attempts == {}
