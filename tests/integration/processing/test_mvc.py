"""MVC values that are given with recordings: kept with the session, analysed with, and replaced by those that are given later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.c3d.reader import C3dRecordingReader
from domain.analytics import AnalysisParameters, Mvc, SessionAnalytics
from domain.errors import AnalysisFailed, StorageUnavailable
from domain.mvc import GivenMvc
from domain.ports import Freshness, SaveReceipt
from domain.processing import GivenUp, ProcessingPolicy, attempt
from domain.session import SessionId, SessionState, TherapySession
from services.recording_intake import Received
from services.therapy_session_processor import TherapySessionProcessor
from tests.integration.processing.conftest import House
from tests.recordings import in_chunks

ONE, OTHER, THIRD = GivenMvc(None, (("CH1", 3e-4),)), GivenMvc(4e-4), GivenMvc(5e-4, (("CH2", 6e-4),))

Arrives = Callable[[House, bytes, GivenMvc | None], Awaitable[Received]]


async def uploaded(house: House, body: bytes, mvc: GivenMvc | None = None) -> Received:
    """As the upload route does it, for somebody who may."""
    received = await house.intake.receive(in_chunks(body), file_name="a.c3d", patient_code=None, mvc=mvc)
    return await house.intake.remeasure(received, mvc)


async def announced(house: House, body: bytes, mvc: GivenMvc | None = None, name: str = "a.c3d") -> Received:
    await house.store.keep(f"c3d/{name}", body)
    return await house.intake.announce(bucket="c3d", name=name, revision="1", size_bytes=len(body), mvc=mvc)


async def mvcs(house: House, session_id: SessionId) -> list[Mvc]:
    """What the channels are measured against, by what is stored."""
    answer = await house.repository.get(session_id, freshness=Freshness.FRESH)
    assert answer is not None
    return [channel.mvc for channel in answer.analytics.channels]


async def is_settled_with(house: House, session_id: SessionId, mvc: GivenMvc) -> None:
    """The session is completed, has these values, and its analytics were made with them."""
    session = await house.session(session_id)
    assert (session.state, session.progress, session.mvc) == (SessionState.COMPLETED, 1.0, mvc)
    answer = await house.repository.get(session_id, freshness=Freshness.FRESH)
    assert answer is not None
    assert answer.analytics.parameters == AnalysisParameters().with_mvc(mvc)


@pytest.fixture(params=[uploaded, announced], ids=["uploaded", "announced"])
def arrives(request: pytest.FixtureRequest) -> Arrives:
    """Each way in which a recording comes."""
    way: Arrives = request.param
    return way


async def test_a_recording_is_analysed_with_the_values_it_arrives_with(house: House, recording: bytes, arrives: Arrives) -> None:
    received = await arrives(house, recording, ONE)
    assert (received.session.mvc, received.new, received.remeasured) == (ONE, True, False)
    await house.processor.process_session(received.session.session_id)
    first, second = await mvcs(house, received.session.session_id)
    assert (first.value, first.source) == (3e-4, "channel")
    assert second.source == "estimated"
    await is_settled_with(house, received.session.session_id, ONE)


async def test_other_values_take_the_place_of_the_first_and_the_session_is_analysed_anew(
    house: House, recording: bytes, arrives: Arrives
) -> None:
    session_id = (await arrives(house, recording, ONE)).session.session_id
    await house.processor.process_session(session_id)
    again = await arrives(house, recording, OTHER)
    assert (again.session.session_id, again.new, again.remeasured) == (session_id, False, True)
    assert (again.session.state, again.session.progress) == (SessionState.RECEIVED, 0.0)
    assert [mvc.source for mvc in await mvcs(house, session_id)] == ["channel", "estimated"], "until then the first analytics are there"
    await house.processor.process_session(session_id)
    assert [(mvc.value, mvc.source) for mvc in await mvcs(house, session_id)] == [(4e-4, "session")] * 2
    await is_settled_with(house, session_id, OTHER)
    answer = await house.repository.get(session_id)
    assert answer is not None
    assert answer.version == 2


@pytest.mark.parametrize("given", [None, ONE])
async def test_the_same_values_and_none_change_nothing(house: House, recording: bytes, arrives: Arrives, given: GivenMvc | None) -> None:
    first = await arrives(house, recording, ONE)
    await house.processor.process_session(first.session.session_id)
    before, depth = await house.session(first.session.session_id), await house.queue.depth()
    again = await arrives(house, recording, given)
    assert (again.session, again.new, again.remeasured) == (before, False, False)
    assert await house.queue.depth() == depth
    await house.processor.process_session(first.session.session_id)
    assert len(house.workers.file_names) == 1


def processor_with(house: House, parameters: AnalysisParameters) -> TherapySessionProcessor:
    """Another processor in the same house, where the settings say something else."""
    return TherapySessionProcessor(
        reader=C3dRecordingReader(),
        workers=house.workers,
        repository=house.repository,
        registry=house.registry,
        store=house.store,
        parameters=parameters,
    )


async def test_a_sessions_own_values_go_before_the_settings(house: House, recording: bytes) -> None:
    settings = AnalysisParameters(mvc_session=9e-4, mvc_by_channel={"CH1": 8e-4, "CH2": 7e-4})
    session_id = (await uploaded(house, recording, ONE)).session.session_id
    processor = processor_with(house, settings)
    await processor.process_session(session_id)
    assert [mvc.value for mvc in await mvcs(house, session_id)] == [3e-4, 7e-4]
    await uploaded(house, recording, OTHER)
    await processor.process_session(session_id)
    assert [mvc.value for mvc in await mvcs(house, session_id)] == [4e-4, 4e-4]


async def test_a_retry_analyses_with_the_sessions_values(house: House, recording: bytes) -> None:
    session_id = (await uploaded(house, recording, ONE)).session.session_id

    def fail() -> None:
        raise StorageUnavailable("the database is gone")

    house.workers.after = fail
    with pytest.raises(StorageUnavailable):
        await house.processor.process_session(session_id)
    house.workers.after = lambda: None
    await house.processor.process_session(session_id)
    await is_settled_with(house, session_id, ONE)


async def test_a_session_that_failed_and_comes_again_with_other_values_is_analysed_with_those(
    house: House, recording: bytes, arrives: Arrives
) -> None:
    session_id = (await arrives(house, recording, ONE)).session.session_id
    await house.processor.give_up(session_id, "because")
    again = await arrives(house, recording, OTHER)
    assert (again.session.state, again.session.failure, again.session.mvc) == (SessionState.RECEIVED, None, OTHER)
    await house.processor.process_session(session_id)
    await is_settled_with(house, session_id, OTHER)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_values_that_come_while_a_session_is_analysed_are_not_lost(house: House, recording: bytes, when: str) -> None:
    session_id = (await uploaded(house, recording, ONE)).session.session_id
    later = [OTHER, THIRD]

    async def given_meanwhile() -> None:
        if later:
            await uploaded(house, recording, later.pop(0))

    setattr(house.workers, when, given_meanwhile)
    await house.processor.process_session(session_id)
    await is_settled_with(house, session_id, THIRD)
    assert len(house.workers.file_names) == 3
    await house.processor.process_session(session_id)  # The jobs that were queued find nothing left to do.
    assert len(house.workers.file_names) == 3


async def test_values_that_never_rest_are_given_up_for_now(house: House, recording: bytes) -> None:
    session_id = (await uploaded(house, recording, ONE)).session.session_id

    async def given_meanwhile() -> None:
        await uploaded(house, recording, GivenMvc(1e-4 * (2 + len(house.workers.file_names))))

    house.workers.after = given_meanwhile
    with pytest.raises(StorageUnavailable, match="other MVC values over and over"):
        await house.processor.process_session(session_id)
    assert len(house.workers.file_names) == 5
    assert (await house.session(session_id)).state is not SessionState.COMPLETED


async def test_a_late_worker_that_saved_outdated_analytics_makes_good_for_it(house: House, recording: bytes) -> None:
    """It was frozen while another analysed the session anew, and overwrites what that one saved."""
    session_id = (await uploaded(house, recording, ONE)).session.session_id

    async def another_is_done() -> None:
        house.workers.after = lambda: None
        await uploaded(house, recording, OTHER)
        await house.processor.process_session(session_id)
        await is_settled_with(house, session_id, OTHER)

    house.workers.after = another_is_done
    await house.processor.process_session(session_id)
    await is_settled_with(house, session_id, OTHER)


# From a file


async def test_values_given_with_a_file_are_kept_and_stay_when_it_is_processed_again(
    house: House, recording: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(recording)
    estimated = await house.processor.process(path)
    given = await house.processor.process(path, mvc=ONE)
    assert (given.session_id, given.new, given.version) == (estimated.session_id, True, 2)
    await is_settled_with(house, given.session_id, ONE)
    again = await house.processor.process(path)
    assert (again.new, again.version) == (False, 2)
    other = await house.processor.process(path, mvc=OTHER)
    assert (other.new, other.version) == (True, 3)
    await is_settled_with(house, given.session_id, OTHER)


async def test_a_file_comes_with_values_at_its_first_processing(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(recording)
    processed = await house.processor.process(path, mvc=ONE)
    assert processed.new
    await is_settled_with(house, processed.session_id, ONE)


async def test_values_that_the_settings_gave_already_are_kept_without_another_analysis(
    house: House, recording: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(recording)
    processor = processor_with(house, AnalysisParameters(mvc_session=4e-4))
    first = await processor.process(path)
    again = await processor.process(path, mvc=OTHER)
    assert (again.new, again.version, len(house.workers.file_names)) == (False, first.version, 1)
    await is_settled_with(house, first.session_id, OTHER)


async def test_values_that_come_while_a_file_is_analysed_win(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(recording)
    session_id = (await house.processor.process(path, mvc=ONE)).session_id

    async def uploaded_between_giving_and_saving(session_id: SessionId, mvc: GivenMvc) -> TherapySession | None:
        session = await remeasure(session_id, mvc)
        await uploaded(house, recording, THIRD)
        return session

    remeasure = house.registry.remeasure
    house.registry.remeasure = uploaded_between_giving_and_saving  # type: ignore[method-assign]
    try:
        processed = await house.processor.process(path, mvc=OTHER)
    finally:
        house.registry.remeasure = remeasure  # type: ignore[method-assign]
    assert processed.analytics.parameters == AnalysisParameters().with_mvc(THIRD)
    await is_settled_with(house, session_id, THIRD)


async def test_values_that_come_while_a_file_is_analysed_with_those_it_had_are_kept(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(recording)
    session_id = (await house.processor.process(path, mvc=ONE)).session_id

    async def given_meanwhile() -> None:
        house.workers.after = lambda: None
        await uploaded(house, recording, OTHER)

    house.workers.after = given_meanwhile
    await house.repository.delete(session_id)  # So that it is analysed.
    processed = await house.processor.process(path)
    assert processed.analytics.parameters == AnalysisParameters().with_mvc(OTHER)
    await is_settled_with(house, session_id, OTHER)


async def test_what_was_processed_from_a_file_can_be_uploaded_with_other_values(house: House, recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.c3d"
    path.write_bytes(recording)
    session_id = (await house.processor.process(path)).session_id
    received = await uploaded(house, recording, ONE)
    assert (received.session.session_id, received.remeasured) == (session_id, True)
    await house.processor.process_session(session_id)
    await is_settled_with(house, session_id, ONE)


# Duplicates


async def a_duplicate(house: House, recording: bytes, tmp_path: Path, mvc: GivenMvc | None) -> tuple[SessionId, SessionId]:
    """A session processed from a file that was not kept, and one of the same bytes from a bucket."""
    path = tmp_path / "original.c3d"
    path.write_bytes(recording)
    original_id = (await house.processor.process(path)).session_id
    return original_id, (await announced(house, recording, mvc)).session.session_id


async def test_the_values_of_a_duplicate_are_those_of_its_bytes(house: House, recording: bytes, tmp_path: Path) -> None:
    original_id, duplicate_id = await a_duplicate(house, recording, tmp_path, ONE)
    await house.processor.process_session(duplicate_id)
    duplicate = await house.session(duplicate_id)
    assert (duplicate.state, duplicate.same_as) == (SessionState.DUPLICATE, original_id)
    await is_settled_with(house, original_id, ONE)
    answer = await house.repository.get(original_id)
    assert answer is not None
    assert (answer.analytics.recording.file_name, answer.version) == ("original.c3d", 2)
    assert await house.repository.get(duplicate_id) is None


async def test_a_duplicate_without_values_leaves_those_of_its_original(house: House, recording: bytes, tmp_path: Path) -> None:
    original_id = (await uploaded(house, recording, ONE)).session.session_id
    await house.processor.process_session(original_id)
    duplicate_id = (await announced(house, recording)).session.session_id
    await house.processor.process_session(duplicate_id)
    await is_settled_with(house, original_id, ONE)
    assert len(house.workers.file_names) == 1


async def test_a_duplicate_that_is_announced_with_other_values_hands_them_on(house: House, recording: bytes, tmp_path: Path) -> None:
    original_id, duplicate_id = await a_duplicate(house, recording, tmp_path, ONE)
    await house.processor.process_session(duplicate_id)
    again = await announced(house, recording, OTHER)
    assert (again.session.state, again.remeasured) == (SessionState.DUPLICATE, True)
    await house.processor.process_session(duplicate_id)
    assert (await house.session(duplicate_id)).state is SessionState.DUPLICATE
    await is_settled_with(house, original_id, OTHER)


async def test_a_duplicate_whose_worker_died_hands_its_values_on_at_the_next_attempt(
    house: House, recording: bytes, tmp_path: Path
) -> None:
    original_id, duplicate_id = await a_duplicate(house, recording, tmp_path, ONE)

    def die() -> None:
        raise KeyboardInterrupt

    house.workers.after = die
    with pytest.raises(KeyboardInterrupt):
        await house.processor.process_session(duplicate_id)
    house.workers.after = lambda: None
    await house.processor.process_session(duplicate_id)
    await is_settled_with(house, original_id, ONE)


async def test_an_original_that_its_duplicates_values_fail_says_so(house: House, recording: bytes, tmp_path: Path) -> None:
    original_id, duplicate_id = await a_duplicate(house, recording, tmp_path, ONE)

    def fail() -> None:
        raise AnalysisFailed("a.c3d", "its process died")

    house.workers.after = fail
    outcome = await attempt(house.processor, duplicate_id, earlier=0, policy=ProcessingPolicy(attempts_max=1), jitter=0.5)
    assert isinstance(outcome, GivenUp)
    original = await house.session(original_id)
    assert (original.state, original.failure) == (SessionState.FAILED, "a.c3d: its process died")
    assert (await house.session(duplicate_id)).state is SessionState.DUPLICATE
    house.workers.after = lambda: None
    await uploaded(house, recording, OTHER)
    await house.processor.process_session(original_id)
    await is_settled_with(house, original_id, OTHER)


async def test_a_duplicate_whose_original_failed_becomes_the_session_itself(house: House, recording: bytes, tmp_path: Path) -> None:
    original_id, duplicate_id = await a_duplicate(house, recording, tmp_path, None)
    await house.processor.process_session(duplicate_id)
    original = await house.session(original_id)
    await house.registry.forget(original_id)
    await house.registry.register(replace(original, state=SessionState.FAILED))
    await announced(house, recording, ONE)
    await house.processor.process_session(duplicate_id)
    await is_settled_with(house, duplicate_id, ONE)
    assert (await house.session(duplicate_id)).same_as is None


@pytest.mark.parametrize("when", ["before the analysis", "after the analysis", "right before it is saved"])
async def test_a_duplicate_of_what_is_erased_meanwhile_brings_nothing_back(
    house: House, recording: bytes, tmp_path: Path, when: str
) -> None:
    original_id, duplicate_id = await a_duplicate(house, recording, tmp_path, ONE)
    save = house.repository.save

    async def erase() -> None:
        assert await house.erasure.erase(original_id)

    async def erase_and_save(analytics: SessionAnalytics) -> SaveReceipt:
        await erase()
        return await save(analytics)

    if when == "right before it is saved":
        house.repository.save = erase_and_save  # type: ignore[method-assign]
    else:
        setattr(house.workers, when.split(maxsplit=1)[0], erase)
    await house.processor.process_session(duplicate_id)
    for session_id in (original_id, duplicate_id):
        assert await house.registry.find(session_id) is None
        assert await house.repository.get(session_id, freshness=Freshness.FRESH) is None
    assert house.store.left() == set()


async def test_uploads_with_two_values_at_the_same_time_end_with_one_of_them(house: House, recording: bytes) -> None:
    answers = await asyncio.gather(*(uploaded(house, recording, mvc) for mvc in (ONE, OTHER, THIRD) for _ in range(2)))
    assert sum(answer.new for answer in answers) == 1
    session_id = answers[0].session.session_id
    mvc = (await house.session(session_id)).mvc
    assert mvc in (ONE, OTHER, THIRD)
    await asyncio.gather(*(house.processor.process_session(session_id) for _ in range(3)))
    await is_settled_with(house, session_id, mvc)


async def test_values_for_a_session_that_is_erased_meanwhile_are_dropped(house: House, recording: bytes) -> None:
    received = await uploaded(house, recording, ONE)
    await house.erasure.erase(received.session.session_id)
    assert await house.intake.remeasure(received, OTHER) == received
    assert await house.registry.find(received.session.session_id) is None
