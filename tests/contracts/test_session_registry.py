"""What every SessionRegistry promises."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain.ports import SessionRegistry
from domain.session import TherapySession
from tests.strategies import examples, local_time, new_id, some_session, text, utc_time

any_session = st.builds(
    some_session,
    st.builds(new_id),
    file_name=text,
    size_bytes=st.integers(0, 2**63 - 1),
    recorded_at=st.none() | local_time,
    registered_at=utc_time,
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
