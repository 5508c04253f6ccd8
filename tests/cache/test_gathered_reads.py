"""When many ask the truth at once, a few are read one by one, and the rest together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.stats import CacheStats
from adapters.redis_cache.truth import Truth
from domain.errors import StorageUnavailable, StoredDataInvalid
from domain.ports import AnalyticsAnswer, Freshness
from domain.session import SessionId
from tests.cache.conftest import WatchedRepository
from tests.strategies import edition, new_id, number_of

POLICY = CachePolicy(inner_singles_max=2, inner_gathered_max=4)


@pytest.fixture
async def gathering(truth: WatchedRepository) -> AsyncIterator[Truth]:
    """The truth as the cache asks it, which answers nobody yet."""
    asked = Truth(truth, POLICY, CacheStats())
    truth.open.clear()
    yield asked
    truth.open.set()
    await asked.aclose()


async def stored(truth: WatchedRepository, count: int) -> list[SessionId]:
    session_ids = [new_id() for _ in range(count)]
    for number, session_id in enumerate(session_ids):
        await truth.inner.save(edition(session_id, number))
    return session_ids


async def begin(asked: Truth, session_ids: Sequence[SessionId]) -> list[asyncio.Task[AnalyticsAnswer | None]]:
    """One after the other."""
    tasks = []
    for session_id in session_ids:
        tasks.append(asyncio.create_task(asked.get(session_id)))
        await settle()
    return tasks


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def numbers(tasks: Sequence[asyncio.Task[AnalyticsAnswer | None]]) -> list[int | None]:
    return [None if answer is None else number_of(answer.analytics) for answer in await asyncio.gather(*tasks)]


async def test_who_comes_while_others_are_under_way_is_read_with_who_comes_too(truth: WatchedRepository, gathering: Truth) -> None:
    known = await stored(truth, 4)
    asked = [*known, new_id(), known[3]]  # One is not there, and one is asked for twice.
    tasks = await begin(gathering, asked)
    assert truth.reads == [(known[0],), (known[1],)]
    truth.open.set()
    assert await numbers(tasks) == [0, 1, 2, 3, None, 3]
    assert truth.reads[2:] == [(known[2], known[3], asked[4])]


async def test_who_comes_at_the_same_moment_is_read_together(truth: WatchedRepository, gathering: Truth) -> None:
    known = await stored(truth, 4)
    tasks = [asyncio.create_task(gathering.get(session_id)) for session_id in known]
    await settle()
    assert truth.reads == [(known[0],), tuple(known[1:])]
    truth.open.set()
    assert await numbers(tasks) == [0, 1, 2, 3]


async def test_no_more_are_read_together_than_is_allowed(truth: WatchedRepository, gathering: Truth) -> None:
    known = await stored(truth, 9)
    tasks = await begin(gathering, known)
    truth.open.set()
    assert await numbers(tasks) == list(range(9))
    assert [len(read) for read in truth.reads] == [1, 1, 4, 3]


async def test_what_has_begun_takes_nobody_more_along(truth: WatchedRepository, gathering: Truth) -> None:
    """Who asks after a write was acknowledged has to see it, so a read that began before will not do."""
    known = await stored(truth, 3)
    truth.open.set()
    truth.may_answer.clear()
    tasks = await begin(gathering, known)
    tasks[0].cancel()  # Now it is the turn of what has gathered: it is read, and its answer is on its way.
    await settle()
    assert truth.reads[-1] == (known[2],)
    await truth.inner.save(edition(known[2], 7))
    late = await begin(gathering, known[2:])
    truth.may_answer.set()
    assert await numbers([*tasks[1:], *late]) == [1, 2, 7]


async def test_the_trouble_of_a_damaged_document_is_of_who_asked_for_it(truth: WatchedRepository, gathering: Truth) -> None:
    known = await stored(truth, 5)
    damaged = known[3]
    single, many = truth.inner.get, truth.inner.get_many

    async def get(session_id: SessionId, **options: object) -> AnalyticsAnswer | None:
        if session_id == damaged:
            raise StoredDataInvalid("damaged")
        return await single(session_id)

    async def get_many(session_ids: Sequence[SessionId], **options: object) -> dict[SessionId, AnalyticsAnswer]:
        if damaged in session_ids:
            raise StoredDataInvalid("damaged")
        return await many(session_ids, freshness=Freshness.FRESH)

    truth.inner.get, truth.inner.get_many = get, get_many  # type: ignore[method-assign,assignment]
    tasks = await begin(gathering, known)
    truth.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[3], StoredDataInvalid)
    assert [number_of(answer.analytics) for answer in found if isinstance(answer, AnalyticsAnswer)] == [0, 1, 2, 4]


async def test_a_truth_that_fails_fails_for_all_who_waited(truth: WatchedRepository, gathering: Truth) -> None:
    tasks = await begin(gathering, [new_id() for _ in range(6)])
    truth.failing = True
    truth.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [StorageUnavailable] * 6


async def test_who_is_cancelled_takes_nobody_along_and_is_not_read_when_nobody_is_left(truth: WatchedRepository, gathering: Truth) -> None:
    known = await stored(truth, 5)
    tasks = await begin(gathering, known)
    tasks[2].cancel()
    tasks[3].cancel()
    await settle()
    truth.open.set()
    assert await numbers([tasks[0], tasks[1], tasks[4]]) == [0, 1, 4]
    truth.open.clear()
    held = await begin(gathering, known[:2])
    alone = await begin(gathering, known[2:3])
    alone[0].cancel()
    await settle()
    before = len(truth.reads)
    truth.open.set()
    assert await numbers(held) == [0, 1]
    await settle()
    assert len(truth.reads) == before
    (again,) = await begin(gathering, known[3:4])  # And nothing is left in its way.
    assert await numbers([again]) == [3]


async def test_who_waits_too_long_for_a_turn_is_told(truth: WatchedRepository) -> None:
    stats = CacheStats()
    asked = Truth(truth, replace(POLICY, inner_wait_s=0.05), stats)
    truth.open.clear()
    tasks = await begin(asked, [new_id() for _ in range(5)])
    found = await asyncio.gather(*tasks[2:], return_exceptions=True)
    assert [type(each) for each in found] == [StorageUnavailable] * 3
    assert stats.counts()["database_gathered"] == 3
    truth.open.set()
    assert await numbers(tasks[:2]) == [None, None]
    await asked.aclose()
