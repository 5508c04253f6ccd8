"""What every SessionRegistry promises."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.mvc import GivenMvc
from domain.ports import PageKey, PatientSessions, SessionQuery, SessionRegistry
from domain.session import SessionId, SessionState, TherapySession
from tests.strategies import any_mvc, examples, local_time, new_id, some_session, text, utc_time

any_session = st.builds(
    some_session,
    st.builds(new_id),
    file_name=text,
    size_bytes=st.integers(0, 2**63 - 1),
    recorded_at=st.none() | local_time,
    registered_at=utc_time,
    patient_code=st.none() | text,
    recording_key=st.none() | text,
    mvc=st.none() | any_mvc,
    state=st.sampled_from(SessionState),
    progress=st.floats(0, 1).map(lambda x: x + 0.0),
    failure=st.none() | text,
    same_as=st.none() | st.builds(new_id),
)


async def later_than_all(registry: SessionRegistry) -> datetime:
    """A moment after whatever other tests have registered."""
    known = await registry.recent(1)
    return max([datetime(9000, 1, 1, tzinfo=UTC), *(session.registered_at for session in known)]) + timedelta(seconds=1)


@given(session=any_session)
@examples(40)
async def test_whatever_is_registered_is_found_equal(registry: SessionRegistry, session: TherapySession) -> None:
    assert await registry.register(session) == session
    assert await registry.find(session.session_id) == session


async def test_a_session_never_registered_is_none(registry: SessionRegistry) -> None:
    assert await registry.find(new_id()) is None


async def test_a_known_session_stays_as_it_was_registered_first(registry: SessionRegistry) -> None:
    first = some_session()
    await registry.register(first)
    changes: dict[str, Any] = {
        "file_name": "another.c3d",
        "size_bytes": 1,
        "recorded_at": None,
        "registered_at": datetime(2026, 1, 1, tzinfo=UTC),
        "patient_code": "another",
        "recording_key": None,
        "mvc": GivenMvc(0.5),
        "state": SessionState.COMPLETED,
        "progress": 0.5,
        "failure": "none",
        "same_as": new_id(),
    }
    assert {field.name for field in fields(TherapySession)} == {"session_id", "recording_sha256", *changes}
    assert await registry.register(replace(first, **changes)) == first
    assert await registry.find(first.session_id) == first


async def test_concurrent_registrations_of_one_session_agree_on_one(registry: SessionRegistry) -> None:
    session = some_session()
    rivals = [replace(session, file_name=f"{number}.c3d") for number in range(10)]
    answers = await asyncio.gather(*(registry.register(rival) for rival in rivals))
    assert len(set(answers)) == 1
    assert answers[0] in rivals
    assert await registry.find(session.session_id) == answers[0]


async def test_the_last_registered_sessions_come_newest_first(registry: SessionRegistry) -> None:
    moment = await later_than_all(registry)
    sessions = [some_session(registered_at=moment + timedelta(microseconds=number)) for number in (3, 1, 2)]
    for session in sessions:
        await registry.register(session)
    oldest_first = [sessions[1], sessions[2], sessions[0]]
    assert list(await registry.recent(3)) == oldest_first[::-1]
    assert list(await registry.recent(1)) == [sessions[0]]
    assert list(await registry.recent(0)) == []


async def test_sessions_registered_at_one_moment_have_an_order_of_their_own(registry: SessionRegistry) -> None:
    moment = await later_than_all(registry)
    sessions = [some_session(registered_at=moment) for _ in range(5)]
    for session in sessions:
        await registry.register(session)
    expected = sorted(sessions, key=lambda session: session.session_id, reverse=True)
    assert list(await registry.recent(5)) == expected
    assert list(await registry.recent(2)) == expected[:2]


async def found(registry: SessionRegistry, session_id: SessionId) -> TherapySession:
    session = await registry.find(session_id)
    assert session is not None
    return session


def new_digest() -> str:
    return uuid4().hex + uuid4().hex


# Recordings


async def test_a_session_is_found_by_its_recording(registry: SessionRegistry) -> None:
    session = some_session()
    await registry.register(session)
    assert session.recording_sha256 is not None
    assert await registry.find_by_recording(session.recording_sha256) == session
    assert await registry.find_by_recording(new_digest()) is None


async def test_another_session_with_a_known_recording_is_the_known_one(registry: SessionRegistry) -> None:
    known = some_session()
    await registry.register(known)
    other = some_session(recording_sha256=known.recording_sha256)
    assert await registry.register(other) == known
    assert await registry.find(other.session_id) is None


async def test_sessions_whose_recordings_are_not_read_yet_are_told_apart(registry: SessionRegistry) -> None:
    sessions = [some_session(recording_sha256=None, size_bytes=None) for _ in range(2)]
    for session in sessions:
        assert await registry.register(session) == session
        assert await registry.find(session.session_id) == session


async def test_a_recording_that_is_read_first_gives_its_session_the_digest(registry: SessionRegistry) -> None:
    session, digest = some_session(recording_sha256=None, size_bytes=None), new_digest()
    await registry.register(session)
    identified = replace(session, recording_sha256=digest, size_bytes=5)
    for _ in range(2):
        assert await registry.identify(session.session_id, digest, 5) == identified
    assert await registry.find_by_recording(digest) == identified


async def test_a_recording_that_is_known_makes_its_session_a_duplicate(registry: SessionRegistry) -> None:
    original = some_session(registered_at=datetime(2025, 1, 1, tzinfo=UTC))
    copy = some_session(recording_sha256=None, size_bytes=None, recorded_at=None)
    for session in (original, copy):
        await registry.register(session)
    assert original.recording_sha256 is not None
    duplicate = await registry.identify(copy.session_id, original.recording_sha256, 7)
    assert duplicate == replace(copy, size_bytes=7, state=SessionState.DUPLICATE, progress=1.0, same_as=original.session_id)
    assert await registry.find(copy.session_id) == duplicate
    assert await registry.find_by_recording(original.recording_sha256) == original
    assert list(await registry.duplicates_of(original.session_id)) == [duplicate]
    assert list(await registry.duplicates_of(copy.session_id)) == []


async def test_a_session_that_failed_gives_its_recording_to_the_next(registry: SessionRegistry) -> None:
    failed = some_session(state=SessionState.FAILED, failure="the database was gone")
    following = [some_session(recording_sha256=None, size_bytes=None) for _ in range(2)]
    for session in (failed, *following):
        await registry.register(session)
    digest = failed.recording_sha256
    assert digest is not None
    identified = await registry.identify(following[0].session_id, digest, 7)
    assert identified == replace(following[0], recording_sha256=digest, size_bytes=7)
    assert await found(registry, failed.session_id) == replace(failed, recording_sha256=None)
    assert await registry.find_by_recording(digest) == identified
    duplicate = await registry.identify(following[1].session_id, digest, 7)
    assert duplicate is not None
    assert duplicate.same_as == following[0].session_id


async def test_identifying_what_is_not_registered_is_none(registry: SessionRegistry) -> None:
    original = some_session()
    await registry.register(original)
    assert original.recording_sha256 is not None
    for digest in (new_digest(), original.recording_sha256):
        assert await registry.identify(new_id(), digest, 1) is None


async def test_of_sessions_that_are_identified_at_once_with_the_same_bytes_one_is_the_original(registry: SessionRegistry) -> None:
    digest = new_digest()
    sessions = [some_session(recording_sha256=None, size_bytes=None) for _ in range(8)]
    for session in sessions:
        await registry.register(session)
    answers = await asyncio.gather(*(registry.identify(session.session_id, digest, 1) for session in sessions))
    originals = [answer for answer in answers if answer is not None and answer.state is not SessionState.DUPLICATE]
    assert len(originals) == 1
    for answer in answers:
        assert answer is not None
        assert answer == await registry.find(answer.session_id)
        assert answer in originals or answer.same_as == originals[0].session_id
    assert len(await registry.duplicates_of(originals[0].session_id)) == 7


async def test_a_session_that_is_registered_and_one_that_is_identified_at_once_do_not_share_a_recording(registry: SessionRegistry) -> None:
    for _ in range(5):
        digest = new_digest()
        announced, uploaded = some_session(recording_sha256=None, size_bytes=None), some_session(recording_sha256=digest)
        await registry.register(announced)
        await asyncio.gather(registry.register(uploaded), registry.identify(announced.session_id, digest, 1))
        holder = await registry.find_by_recording(digest)
        assert holder is not None
        if holder.session_id == uploaded.session_id:
            assert (await found(registry, announced.session_id)).same_as == uploaded.session_id
        else:
            assert holder.session_id == announced.session_id
            assert await registry.find(uploaded.session_id) is None


async def test_the_keys_that_sessions_name_are_told_apart_from_those_that_none_does(registry: SessionRegistry) -> None:
    keys = [f"uploads/{new_id()}.c3d" for _ in range(3)]
    for key in keys[:2]:
        await registry.register(some_session(recording_key=key))
    assert await registry.naming(keys) == frozenset(keys[:2])
    assert await registry.naming([]) == frozenset()


async def test_the_key_of_a_recording_is_noted_once(registry: SessionRegistry) -> None:
    session = some_session(recording_key=None)
    await registry.register(session)
    for key in ("uploads/first.c3d", "uploads/second.c3d"):
        assert await registry.keep(session.session_id, key) == replace(session, recording_key="uploads/first.c3d")
    assert await registry.keep(new_id(), "uploads/first.c3d") is None


# Patients


async def patient_sessions(registry: SessionRegistry, *codes: str | None) -> list[TherapySession]:
    """A session of each, the later the newer."""
    sessions = [
        some_session(patient_code=code, registered_at=datetime(2026, 1, day, tzinfo=UTC)) for day, code in enumerate(codes, start=1)
    ]
    return [await registry.register(session) for session in sessions]


async def test_a_patient_is_told_with_how_many_sessions_there_are_and_when_the_last_were(registry: SessionRegistry) -> None:
    code, other = f"P{new_id()}", f"P{new_id()}"
    earlier, later = datetime(2025, 3, 10, 11, 50), datetime(2025, 3, 12)  # noqa: DTZ001 - recordings name no time zone
    for recorded_at, day in ((later, 1), (earlier, 5), (None, 3)):
        await registry.register(some_session(patient_code=code, recorded_at=recorded_at, registered_at=datetime(2026, 1, day, tzinfo=UTC)))
    await registry.register(some_session(patient_code=code, state=SessionState.DUPLICATE))
    await registry.register(some_session(patient_code=other, recorded_at=None, registered_at=datetime(2026, 2, 1, tzinfo=UTC)))
    told = {patient.patient_code: patient for patient in await registry.patients(frozenset({code, other}), limit=10)}
    assert told == {
        code: PatientSessions(code, 3, later, datetime(2026, 1, 5, tzinfo=UTC)),
        other: PatientSessions(other, 1, None, datetime(2026, 2, 1, tzinfo=UTC)),
    }


async def test_pages_of_patients_show_each_once(registry: SessionRegistry) -> None:
    codes = [f"{letter}{new_id()}" for letter in ("P", "ä", "p", "Z", "→", "10", "9")]
    await patient_sessions(registry, *codes, *codes)
    seen: list[str] = []
    while page := await registry.patients(frozenset(codes), limit=2, after=seen[-1] if seen else None):
        assert len(page) <= 2
        seen += [patient.patient_code for patient in page]
    assert sorted(seen) == sorted(codes)
    everybody = [patient.patient_code for patient in await registry.patients(None, limit=10_000)]
    assert [code for code in everybody if code in codes] == seen


async def test_patients_are_those_with_sessions_that_may_be_seen(registry: SessionRegistry) -> None:
    own, others, without = (f"P{new_id()}" for _ in range(3))
    await patient_sessions(registry, own, others, None)
    assert [patient.patient_code for patient in await registry.patients(frozenset({own, without}), limit=10)] == [own]
    assert list(await registry.patients(frozenset(), limit=10)) == []
    assert list(await registry.patients(frozenset({own}), limit=10, after=own)) == []


# States


async def test_what_became_of_a_session_is_noted(registry: SessionRegistry) -> None:
    session = some_session(recorded_at=None)
    await registry.register(session)
    assert await registry.note(session.session_id, SessionState.PROCESSING, progress=0.25)
    assert await found(registry, session.session_id) == replace(session, state=SessionState.PROCESSING, progress=0.25)
    assert await registry.note(session.session_id, SessionState.FAILED, failure="because")
    assert await found(registry, session.session_id) == replace(session, state=SessionState.FAILED, failure="because")
    moment = datetime(2025, 3, 10, 11, 50)  # noqa: DTZ001 - recordings name no time zone
    assert await registry.note(session.session_id, SessionState.COMPLETED, progress=1.0, recorded_at=moment)
    assert await registry.note(session.session_id, SessionState.COMPLETED, progress=1.0)
    completed = replace(session, state=SessionState.COMPLETED, progress=1.0, recorded_at=moment)
    assert await found(registry, session.session_id) == completed


@pytest.mark.parametrize("settled", [SessionState.COMPLETED, SessionState.DUPLICATE])
@pytest.mark.parametrize("late", [SessionState.PROCESSING, SessionState.FAILED])
async def test_a_late_worker_does_not_unsettle_a_session(registry: SessionRegistry, settled: SessionState, late: SessionState) -> None:
    session = some_session(state=settled, progress=1.0)
    await registry.register(session)
    assert await registry.note(session.session_id, late, progress=0.5, failure="late")
    assert await found(registry, session.session_id) == session
    assert await registry.note(session.session_id, SessionState.RECEIVED)
    assert (await found(registry, session.session_id)).state is SessionState.RECEIVED


async def test_nothing_is_noted_of_a_session_that_is_not_registered(registry: SessionRegistry) -> None:
    session_id = new_id()
    for state in SessionState:
        assert not await registry.note(session_id, state)
    assert await registry.find(session_id) is None


# Patients


async def test_a_session_without_a_patient_is_given_one_and_keeps_it(registry: SessionRegistry) -> None:
    session = some_session(patient_code=None, state=SessionState.COMPLETED, mvc=FIRST_MVC)
    await registry.register(session)
    given = replace(session, patient_code="P-Ü→1")
    for code in ("P-Ü→1", "P-Ü→1", "another"):
        assert await registry.attribute(session.session_id, code) == given
    assert await found(registry, session.session_id) == given


async def test_a_session_keeps_the_patient_it_was_registered_with(registry: SessionRegistry) -> None:
    session = some_session()
    await registry.register(session)
    assert await registry.attribute(session.session_id, "another") == session
    assert await found(registry, session.session_id) == session


async def test_of_patients_given_at_once_a_session_has_one_and_all_are_told(registry: SessionRegistry) -> None:
    session = some_session(patient_code=None)
    await registry.register(session)
    answers = await asyncio.gather(*(registry.attribute(session.session_id, f"P{number}") for number in range(8)))
    assert set(answers) == {await found(registry, session.session_id)}


async def test_nothing_is_attributed_of_a_session_that_is_not_registered(registry: SessionRegistry) -> None:
    session_id = new_id()
    assert await registry.attribute(session_id, "P1") is None
    assert await registry.find(session_id) is None


# Maximum voluntary contractions

FIRST_MVC, OTHER_MVC = GivenMvc(4.5e-4, (("CH1", 3e-4),)), GivenMvc(None, (("CH1", 3.1e-4), ("Größe →", 1e-300)))


@given(mvc=any_mvc)
@examples(20)
async def test_whatever_values_a_session_is_given_it_has(registry: SessionRegistry, mvc: GivenMvc) -> None:
    session = some_session()
    await registry.register(session)
    given = replace(session, mvc=mvc, state=SessionState.PROCESSING)
    assert await registry.remeasure(session.session_id, mvc) == given
    assert await found(registry, session.session_id) == given
    completed = await registry.complete(session.session_id, mvc, recorded_at=None)
    assert completed == replace(given, state=SessionState.COMPLETED, progress=1.0)


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.DUPLICATE])
@pytest.mark.parametrize("before", [None, FIRST_MVC])
async def test_a_session_with_other_values_is_processing(registry: SessionRegistry, state: SessionState, before: GivenMvc | None) -> None:
    session = some_session(state=state, progress=0.7, failure="because", mvc=before)
    await registry.register(session)
    outdated = replace(session, mvc=OTHER_MVC, state=SessionState.PROCESSING, progress=0.0, failure=None)
    assert await registry.remeasure(session.session_id, OTHER_MVC) == outdated
    assert await found(registry, session.session_id) == outdated


@pytest.mark.parametrize("state", SessionState)
async def test_a_session_that_is_given_the_values_it_has_stays_as_it_is(registry: SessionRegistry, state: SessionState) -> None:
    session = some_session(state=state, progress=0.7, failure="because", mvc=OTHER_MVC)
    await registry.register(session)
    assert await registry.remeasure(session.session_id, GivenMvc(None, OTHER_MVC.by_channel[::-1])) == session
    assert await found(registry, session.session_id) == session


async def test_a_duplicate_with_other_values_stays_one(registry: SessionRegistry) -> None:
    duplicate = some_session(recording_sha256=None, state=SessionState.DUPLICATE, progress=1.0, same_as=new_id())
    await registry.register(duplicate)
    assert await registry.remeasure(duplicate.session_id, OTHER_MVC) == replace(duplicate, mvc=OTHER_MVC)


@pytest.mark.parametrize("mvc", [None, FIRST_MVC])
async def test_a_session_is_completed_by_an_analysis_with_its_values(registry: SessionRegistry, mvc: GivenMvc | None) -> None:
    session = some_session(state=SessionState.PROCESSING, progress=0.3, failure="before", mvc=mvc, recorded_at=None)
    await registry.register(session)
    moment = datetime(2025, 3, 10, 11, 50)  # noqa: DTZ001 - recordings name no time zone
    completed = replace(session, state=SessionState.COMPLETED, progress=1.0, failure=None, recorded_at=moment)
    assert await registry.complete(session.session_id, mvc, recorded_at=moment) == completed
    assert await registry.complete(session.session_id, mvc, recorded_at=None) == completed
    assert await found(registry, session.session_id) == completed


@pytest.mark.parametrize(("has", "analysed"), [(FIRST_MVC, None), (FIRST_MVC, OTHER_MVC), (None, FIRST_MVC)])
async def test_an_analysis_with_other_values_completes_nothing(
    registry: SessionRegistry, has: GivenMvc | None, analysed: GivenMvc | None
) -> None:
    session = some_session(state=SessionState.RECEIVED, progress=0.0, mvc=has)
    await registry.register(session)
    assert await registry.complete(session.session_id, analysed, recorded_at=None) == session
    assert await found(registry, session.session_id) == session


async def test_nothing_is_given_to_and_completed_of_a_session_that_is_not_registered(registry: SessionRegistry) -> None:
    session_id = new_id()
    assert await registry.remeasure(session_id, FIRST_MVC) is None
    assert await registry.complete(session_id, None, recorded_at=None) is None
    assert await registry.find(session_id) is None


async def test_the_values_of_a_session_stay_whatever_else_is_noted(registry: SessionRegistry) -> None:
    session, digest = some_session(recording_sha256=None, size_bytes=None, recording_key=None, mvc=FIRST_MVC), new_digest()
    await registry.register(session)
    await registry.identify(session.session_id, digest, 5)
    await registry.keep(session.session_id, "uploads/a.c3d")
    for state in SessionState:
        await registry.note(session.session_id, state)
        assert (await found(registry, session.session_id)).mvc == FIRST_MVC


async def test_a_duplicate_that_gets_its_recording_is_none_any_more(registry: SessionRegistry) -> None:
    failed = some_session(state=SessionState.FAILED)
    copy = some_session(recording_sha256=None, state=SessionState.DUPLICATE, progress=1.0, same_as=failed.session_id)
    for session in (failed, copy):
        await registry.register(session)
    assert failed.recording_sha256 is not None
    identified = await registry.identify(copy.session_id, failed.recording_sha256, 7)
    assert identified == replace(copy, recording_sha256=failed.recording_sha256, size_bytes=7, state=SessionState.PROCESSING, same_as=None)
    assert list(await registry.duplicates_of(failed.session_id)) == []


async def test_a_forgotten_session_is_as_if_it_had_never_been(registry: SessionRegistry) -> None:
    session = some_session()
    await registry.register(session)
    assert await registry.forget(session.session_id)
    assert not await registry.forget(session.session_id)
    assert await registry.find(session.session_id) is None
    assert session.recording_sha256 is not None
    assert await registry.find_by_recording(session.recording_sha256) is None
    assert not await registry.note(session.session_id, SessionState.COMPLETED)
    assert await registry.register(session) == session


# Pages


async def registered(registry: SessionRegistry, *changes: dict[str, Any]) -> list[TherapySession]:
    """Sessions of a patient nobody else has, each registered a moment after the one before; the newest first."""
    patient = f"patient {new_id()}"
    moment = await later_than_all(registry)
    sessions = []
    for number, change in enumerate(changes):
        given: dict[str, Any] = {"patient_code": patient, "registered_at": moment + timedelta(seconds=number), **change}
        sessions.append(await registry.register(some_session(**given)))
    return sessions[::-1]


async def test_pages_follow_one_another_without_gaps_or_repetitions(registry: SessionRegistry) -> None:
    moment = await later_than_all(registry)
    sessions = await registered(registry, *({"registered_at": moment + timedelta(seconds=number // 3)} for number in range(10)))
    expected = sorted(sessions, key=lambda session: (session.registered_at, session.session_id), reverse=True)
    query = SessionQuery(patient_code=sessions[0].patient_code)
    seen: list[TherapySession] = []
    after: PageKey | None = None
    for size in (4, 4, 2, 0):
        page = await registry.page(query, limit=4, after=after)
        assert len(page) == size
        seen.extend(page)
        after = PageKey(seen[-1].registered_at, seen[-1].session_id)
    assert seen == expected


async def test_a_session_that_is_registered_between_two_pages_shifts_nothing(registry: SessionRegistry) -> None:
    sessions = await registered(registry, {}, {}, {})
    query = SessionQuery(patient_code=sessions[0].patient_code)
    first = await registry.page(query, limit=2)
    await registry.register(some_session(patient_code=sessions[0].patient_code, registered_at=await later_than_all(registry)))
    after = PageKey(first[-1].registered_at, first[-1].session_id)
    assert [*first, *await registry.page(query, limit=2, after=after)] == sessions


async def test_what_one_may_see_and_what_one_asks_for_both_bound_a_page(registry: SessionRegistry) -> None:
    own = await registered(registry, {}, {})
    other = await registered(registry, {})
    nameless = await registered(registry, {"patient_code": None})
    own_patient, other_patient = str(own[0].patient_code), str(other[0].patient_code)

    async def listed(query: SessionQuery) -> list[TherapySession]:
        return [session for session in await registry.page(query, limit=1000) if session in [*own, *other, *nameless]]

    assert await listed(SessionQuery()) == [*nameless, *other, *own]
    assert await listed(SessionQuery(patients=frozenset())) == []
    assert await listed(SessionQuery(patients=frozenset({own_patient}))) == own
    assert await listed(SessionQuery(patients=frozenset({own_patient, other_patient}))) == [*other, *own]
    assert await listed(SessionQuery(patients=frozenset({own_patient}), patient_code=other_patient)) == []
    assert await listed(SessionQuery(patient_code=other_patient)) == other


async def test_pages_are_of_states_and_times_of_recording(registry: SessionRegistry) -> None:
    days = [datetime(2025, 3, day) for day in (1, 2, 3)]  # noqa: DTZ001 - recordings name no time zone
    third, second, first, unknown = await registered(
        registry,
        {"recorded_at": None, "state": SessionState.FAILED},
        *({"recorded_at": day, "state": SessionState.COMPLETED} for day in days),
    )
    patient = first.patient_code

    async def listed(**query: Any) -> list[TherapySession]:
        return list(await registry.page(SessionQuery(patient_code=patient, **query), limit=10))

    assert await listed() == [third, second, first, unknown]
    assert await listed(state=SessionState.FAILED) == [unknown]
    assert await listed(recorded_from=days[1]) == [third, second]
    assert await listed(recorded_before=days[1]) == [first]
    assert await listed(recorded_from=days[0], recorded_before=days[2]) == [second, first]


async def test_duplicates_are_in_no_page(registry: SessionRegistry) -> None:
    duplicate, original = await registered(registry, {}, {"state": SessionState.DUPLICATE})
    for state in (None, SessionState.DUPLICATE, original.state):
        page = await registry.page(SessionQuery(patient_code=original.patient_code, state=state), limit=10)
        assert duplicate not in page
