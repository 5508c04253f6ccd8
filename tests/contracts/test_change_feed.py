"""What every ChangeFeed promises. tests/integration/postgres/test_change_log.py adds what only SQL can do to one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.memory import MemorySessionAnalyticsRepository
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from domain.ports import AnalyticsChange, ChangeFeed
from tests.patience import eventually
from tests.strategies import edition, examples, new_id

Store = MemorySessionAnalyticsRepository | PostgresSessionAnalyticsRepository


async def position_in(store: Store) -> int:
    """A position the feed knows, from now. Transactions elsewhere on the server may hold positions back for a while."""
    await store.save(edition(new_id(), 1))

    async def ask() -> int | None:
        position = (await store.changes_since(None)).position
        return None if (await store.changes_since(position)).changes is None else position

    position = await eventually(ask, lambda position: position is not None)
    assert position is not None
    return position


async def told_since(feed: ChangeFeed, position: int) -> dict[object, int]:
    told = await feed.changes_since(position)
    assert told.changes is not None
    return {change.session_id: change.version for change in told.changes}


async def test_the_identity_of_the_truth_stays(store: Store) -> None:
    assert await store.store_id() == await store.store_id()


async def test_two_memories_are_two_truths() -> None:
    assert await MemorySessionAnalyticsRepository().store_id() != await MemorySessionAnalyticsRepository().store_id()


async def test_every_write_since_a_position_is_told_with_its_version(store: Store) -> None:
    position = await position_in(store)
    saved, changed, deleted = new_id(), new_id(), new_id()
    await store.save(edition(saved, 1))
    await store.save(edition(changed, 1))
    await store.save(edition(changed, 2))
    await store.save(edition(deleted, 1))
    await store.delete(deleted)
    told = await told_since(store, position)
    assert {session_id: told[session_id] for session_id in (saved, changed, deleted)} == {saved: 1, changed: 2, deleted: 2}


async def test_nothing_known_is_told_as_everything(store: Store) -> None:
    told = await store.changes_since(None)
    assert told.changes is None
    assert told.position >= 0


async def test_a_position_from_the_future_is_told_as_everything(store: Store) -> None:
    # As in Redis after the database was restored from a backup.
    position = await position_in(store)
    told = await store.changes_since(position + 1_000_000)
    assert told.changes is None
    assert told.position < position + 1_000_000


@pytest.mark.parametrize("position", [-1, -(2**63), -(2**70), 2**63 - 1, 2**63, 2**64, 10**30], ids=str)
async def test_a_position_that_cannot_be_is_told_as_everything(store: Store, position: int) -> None:
    await position_in(store)
    assert (await store.changes_since(position)).changes is None


async def test_positions_never_go_back(store: Store) -> None:
    positions = []
    for _ in range(5):
        positions.append((await store.changes_since(None)).position)
        await store.save(edition(new_id(), 1))
    assert positions == sorted(positions)


async def test_a_write_without_a_change_need_not_be_told_but_loses_nothing(store: Store) -> None:
    session_id = new_id()
    await store.save(edition(session_id, 1))
    position = await position_in(store)
    await store.save(edition(session_id, 1))
    await store.save(edition(session_id, 2))
    assert (await told_since(store, position))[session_id] == 2


async def test_concurrent_writes_are_all_told_to_a_reader_that_follows(store: Store) -> None:
    position = await position_in(store)
    session_ids = [new_id() for _ in range(40)]
    versions: dict[object, int] = {}

    async def follow(position: int) -> int:
        told = await store.changes_since(position)
        assert told.changes is not None
        for change in told.changes:
            versions[change.session_id] = max(change.version, versions.get(change.session_id, 0))
        return told.position

    async with asyncio.TaskGroup() as group:
        for session_id in session_ids:
            group.create_task(store.save(edition(session_id, 1)))
            position = await follow(position)
    await follow(position)
    assert {session_id: versions.get(session_id) for session_id in session_ids} == dict.fromkeys(session_ids, 1)


@given(writes=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["save", "delete", "follow"])), max_size=20))
@examples(15)
async def test_following_a_feed_leads_to_the_versions_of_the_truth(store: Store, writes: list[tuple[int, str]]) -> None:
    session_ids = [new_id() for _ in range(4)]
    position = await position_in(store)
    followed: dict[object, int] = {}
    expected: dict[object, int] = {}
    for number, (which, what) in enumerate([*writes, (0, "follow")]):
        session_id = session_ids[which]
        if what == "save":
            expected[session_id] = (await store.save(edition(session_id, number))).version
        elif what == "delete":
            receipt = await store.delete(session_id)
            if receipt is not None:
                expected[session_id] = receipt.version
        else:
            told = await store.changes_since(position)
            assert told.changes is not None
            assert all(isinstance(change, AnalyticsChange) for change in told.changes)
            for change in told.changes:
                followed[change.session_id] = max(change.version, followed.get(change.session_id, 0))
            position = told.position
    assert {session_id: followed.get(session_id) for session_id in expected} == expected


async def test_versions_are_those_of_the_last_write_and_count_deletions(store: Store) -> None:
    saved, changed, deleted, again, unknown = (new_id() for _ in range(5))
    asked = [saved, changed, deleted, again, unknown]
    assert await store.versions_of(asked) == {}
    for session_id, numbers in ((saved, [1, 1]), (changed, [1, 2, 3]), (deleted, [1]), (again, [1])):
        for number in numbers:
            await store.save(edition(session_id, number))
    await store.delete(deleted)
    await store.delete(again)
    await store.save(edition(again, 1))
    expected = {saved: 1, changed: 3, deleted: 2, again: 3}
    for wanted in (asked, [*asked, saved, unknown], set(asked), dict.fromkeys(asked).keys()):
        assert await store.versions_of(wanted) == expected


async def test_versions_of_no_session_are_none(store: Store) -> None:
    assert await store.versions_of([]) == {}


async def test_a_version_is_told_as_soon_as_the_write_is_acknowledged(store: Store) -> None:
    session_ids = [new_id() for _ in range(20)]
    receipts = await asyncio.gather(*(store.save(edition(session_id, number % 3)) for session_id in session_ids for number in range(6)))
    versions = await store.versions_of(session_ids)
    for place, session_id in enumerate(session_ids):
        assert versions[session_id] == max(receipt.version for receipt in receipts[6 * place : 6 * place + 6])


async def test_a_memory_forgets_its_oldest_changes_and_says_so() -> None:
    store = MemorySessionAnalyticsRepository()
    session_id = new_id()
    old = (await store.changes_since(None)).position
    for number in range(10_000):
        await store.save(edition(session_id, number))
    told = await store.changes_since(old)
    assert told.changes is not None
    assert len(told.changes) == 10_000
    late = (await store.changes_since(None)).position
    await store.save(edition(session_id, 10_000))
    assert (await store.changes_since(old)).changes is None
    assert await told_since(store, late) == {session_id: 10_001}


async def test_whoever_listens_is_told_of_writes_soon(store: Store) -> None:
    told = 0

    def tell() -> None:
        nonlocal told
        told += 1

    async def so_far() -> int:
        return told

    async with store.listening(tell):
        await asyncio.sleep(0)
        for number in range(1, 4):
            before = told
            await store.save(edition(new_id(), number))
            await eventually(so_far, lambda now, before=before: now > before)  # type: ignore[misc]  # a lambda's default has no type
    await asyncio.sleep(0.05)
    over = told
    await store.save(edition(new_id(), 1))
    await asyncio.sleep(0.1)
    assert told == over, "nobody listens any more"
