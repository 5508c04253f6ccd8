"""LISTEN for real: the pool keeps its places, a lost connection comes back, and what was missed meanwhile is asked for."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.listener import Listener
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from domain.errors import StorageUnavailable
from tests.patience import eventually
from tests.strategies import edition, new_id

_LISTENERS = sa.text("""
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND (query LIKE 'LISTEN%' OR query LIKE '%log_trimmed%')
""")


class Ears:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told = 0

    def __call__(self) -> None:
        self.told += 1

    async def count(self) -> int:
        return self.told


async def listeners(engine: AsyncEngine) -> list[int]:
    async with engine.connect() as connection:
        return list((await connection.execute(_LISTENERS)).scalars())


async def test_listening_takes_no_place_in_the_pool(fresh_engine: AsyncEngine, fresh_database_url: str) -> None:
    single = create_engine(fresh_database_url, PostgresPolicy(pool_size=1, pool_wait_s=1.0))
    repository, ears = PostgresSessionAnalyticsRepository(single), Ears()
    async with repository.listening(ears):
        await eventually(ears.count, bool)
        await asyncio.gather(*(repository.save(edition(new_id(), 1)) for _ in range(5)))
        assert len(await listeners(fresh_engine)) == 1
    await eventually(lambda: listeners(fresh_engine), lambda pids: pids == [])
    await single.dispose()


async def test_a_connection_that_was_ended_comes_back_and_asks_for_what_it_missed(fresh_engine: AsyncEngine) -> None:
    repository, ears = PostgresSessionAnalyticsRepository(fresh_engine), Ears()
    async with repository.listening(ears):
        (pid,) = await eventually(lambda: listeners(fresh_engine), lambda pids: len(pids) == 1)
        await eventually(ears.count, bool)
        before = ears.told
        async with fresh_engine.connect() as connection:
            await connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        await eventually(ears.count, lambda told: told > before)
        (again,) = await eventually(lambda: listeners(fresh_engine), lambda pids: len(pids) == 1 and pids != [pid])
        assert again != pid
        before = ears.told
        await repository.save(edition(new_id(), 1))
        await eventually(ears.count, lambda told: told > before)


async def test_where_nothing_answers_listening_opens_all_the_same_and_ends_at_once(closed_port: int) -> None:
    engine = create_engine(f"postgresql://nobody@127.0.0.1:{closed_port}/nothing", PostgresPolicy())
    ears = Ears()
    async with Listener(engine).listening(ears):
        await asyncio.sleep(0.1)
    assert ears.told == 0
    await engine.dispose()


async def test_the_change_log_is_read_while_every_place_in_the_pool_is_taken(fresh_engine: AsyncEngine, fresh_database_url: str) -> None:
    single = create_engine(fresh_database_url, PostgresPolicy(pool_size=1, pool_wait_s=0.2))
    repository, ears = PostgresSessionAnalyticsRepository(single), Ears()
    position = (await repository.changes_since(None)).position
    async with repository.listening(ears):
        await eventually(ears.count, bool)
        async with single.connect():
            await PostgresSessionAnalyticsRepository(fresh_engine).save(edition(new_id(), 1))
            assert (await repository.changes_since(position)).changes is not None
            with pytest.raises(StorageUnavailable):
                await repository.store_id()
    await single.dispose()


async def test_where_the_listener_is_lost_the_change_log_is_read_in_the_pool(fresh_engine: AsyncEngine) -> None:
    repository, ears = PostgresSessionAnalyticsRepository(fresh_engine), Ears()
    position = (await repository.changes_since(None)).position
    async with repository.listening(ears):
        (pid,) = await eventually(lambda: listeners(fresh_engine), lambda pids: len(pids) == 1)
        await eventually(ears.count, bool)
        async with fresh_engine.connect() as connection:
            await connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        for _ in range(20):
            assert (await repository.changes_since(position)).position >= position
