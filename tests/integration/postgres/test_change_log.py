"""The change log and the versions: the triggers' doing, so that writes past the adapter count like its own."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import document
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from domain.errors import StorageNotReady, StorageRefused
from domain.session import SessionId
from tests.patience import eventually
from tests.strategies import edition, new_id, number_of

Repository = PostgresSessionAnalyticsRepository


async def sql(engine: AsyncEngine, statement: str, **values: Any) -> list[sa.Row[Any]]:
    async with engine.begin() as connection:
        return await sql_on(connection, statement, **values)


async def sql_on(connection: AsyncConnection, statement: str, **values: Any) -> list[sa.Row[Any]]:
    result = await connection.execute(sa.text(statement), values)
    return list(result.all()) if result.returns_rows else []


async def put(connection: AsyncConnection, session_id: SessionId, number: int) -> None:
    """Writes as another program might."""
    await sql_on(
        connection,
        """INSERT INTO session_analytics (session_id, document) VALUES (:id, CAST(:document AS jsonb))
           ON CONFLICT (session_id) DO UPDATE SET document = excluded.document""",
        id=session_id,
        document=document.encode(edition(session_id, number)).decode(),
    )


async def told(repository: Repository, position: int) -> dict[SessionId, int] | None:
    changes = (await repository.changes_since(position)).changes
    return None if changes is None else {change.session_id: change.version for change in changes}


async def now(repository: Repository) -> int:
    return (await repository.changes_since(None)).position


async def now_known(repository: Repository) -> bool:
    """Whether the feed knows the position that it gives now."""
    return await told(repository, await now(repository)) is not None


async def test_a_write_that_commits_after_a_younger_one_is_told(repository: Repository, engine: AsyncEngine) -> None:
    late, young = new_id(), new_id()
    position = await now(repository)
    async with engine.connect() as slow:
        async with slow.begin():
            await put(slow, late, 1)
            await repository.save(edition(young, 1))
            meanwhile = await repository.changes_since(position)
            assert meanwhile.changes is not None
            assert late not in {change.session_id for change in meanwhile.changes}
            assert young in {change.session_id for change in meanwhile.changes}
            later = await repository.changes_since(meanwhile.position)
        afterwards = await told(repository, later.position)
    assert afterwards is not None
    assert afterwards[late] == 1


async def test_nothing_is_lost_among_transactions_that_commit_in_any_order(repository: Repository, engine: AsyncEngine) -> None:
    session_ids = [new_id() for _ in range(30)]
    position = await now(repository)
    versions: dict[SessionId, int] = {}
    gates = [asyncio.Event() for _ in range(5)]

    async def write(mine: list[SessionId], gate: asyncio.Event) -> None:
        async with engine.begin() as connection:
            for session_id in mine:
                await put(connection, session_id, 1)
            await gate.wait()

    async def follow() -> None:
        nonlocal position
        changes = await repository.changes_since(position)
        assert changes.changes is not None
        versions.update({change.session_id: change.version for change in changes.changes})
        position = changes.position

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(write(session_ids[place::5], gate)) for place, gate in enumerate(gates)]
        for place in (3, 0, 4, 2, 1):
            await follow()
            gates[place].set()
            await tasks[place]
            await follow()
            assert set(session_ids[place::5]) <= versions.keys()
    assert {session_id: versions.get(session_id) for session_id in session_ids} == dict.fromkeys(session_ids, 1)


async def test_what_was_rolled_back_is_not_told(repository: Repository, engine: AsyncEngine) -> None:
    session_id = new_id()
    position = await now(repository)
    async with engine.connect() as connection:
        transaction = await connection.begin()
        await put(connection, session_id, 1)
        await transaction.rollback()
    changes = await told(repository, position)
    assert changes is not None
    assert session_id not in changes
    assert (await repository.save(edition(session_id, 1))).version == 1


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE session_analytics SET document = jsonb_set(document, '{summary,channel_count}', '9') WHERE session_id = :id", 2),
        ("UPDATE session_analytics SET document = document WHERE session_id = :id", 2),
        ("DELETE FROM session_analytics WHERE session_id = :id", 2),
    ],
)
async def test_a_direct_write_is_told_with_its_version(repository: Repository, engine: AsyncEngine, statement: str, expected: int) -> None:
    session_id = new_id()
    await repository.save(edition(session_id, 1))
    position = await now(repository)
    await sql(engine, statement, id=session_id)
    changes = await told(repository, position)
    assert changes is not None
    assert changes[session_id] == expected


async def test_a_direct_insert_is_told(repository: Repository, engine: AsyncEngine) -> None:
    session_id = new_id()
    position = await now(repository)
    async with engine.begin() as connection:
        await put(connection, session_id, 1)
    changes = await told(repository, position)
    assert changes is not None
    assert changes[session_id] == 1


async def test_a_changed_key_is_told_of_both_sessions(repository: Repository, engine: AsyncEngine) -> None:
    before, after = new_id(), new_id()
    await repository.save(edition(before, 1))
    position = await now(repository)
    await sql(engine, "UPDATE session_analytics SET session_id = :after WHERE session_id = :before", before=before, after=after)
    changes = await told(repository, position)
    assert changes is not None
    assert (changes[before], changes[after]) == (2, 1)
    assert await repository.get(before) is None


async def test_many_writes_in_one_statement_are_told_each(repository: Repository, engine: AsyncEngine) -> None:
    session_ids = [new_id() for _ in range(20)]
    for session_id in session_ids:
        await repository.save(edition(session_id, 1))
    position = await now(repository)
    await sql(engine, "DELETE FROM session_analytics WHERE session_id = ANY(:ids)", ids=session_ids)
    changes = await told(repository, position)
    assert changes is not None
    assert {session_id: changes[session_id] for session_id in session_ids} == dict.fromkeys(session_ids, 2)


async def test_truncation_is_told_as_everything_and_versions_go_on(fresh_repository: Repository, fresh_engine: AsyncEngine) -> None:
    session_id = new_id()
    await fresh_repository.save(edition(session_id, 1))
    position = await now(fresh_repository)
    await sql(fresh_engine, "TRUNCATE session_analytics")
    after = await fresh_repository.changes_since(position)
    assert after.changes is None
    assert await fresh_repository.get(session_id) is None
    # Transactions of others in the cluster may hold the position back before the truncation for a while.
    await eventually(lambda: now_known(fresh_repository), bool)
    # Not 2: that was the truncation's own, which nobody may take for the new content.
    assert (await fresh_repository.save(edition(session_id, 1))).version == 3


async def test_a_position_just_given_is_known_also_before_the_first_write(fresh_repository: Repository) -> None:
    position = await now(fresh_repository)
    assert await told(fresh_repository, position) == {}
    session_id = new_id()
    await fresh_repository.save(edition(session_id, 1))
    assert await told(fresh_repository, position) == {session_id: 1}


async def test_a_log_from_another_cluster_does_not_make_every_position_unknown(
    fresh_repository: Repository, fresh_engine: AsyncEngine
) -> None:
    """A dump keeps the transaction ids of the cluster it was made in, which may be far ahead of those where it is restored."""
    kept = new_id()
    await fresh_repository.save(edition(kept, 1))
    await sql(fresh_engine, "UPDATE session_analytics_change SET xid = CAST('900000000' AS xid8)")
    position = await now(fresh_repository)
    assert await told(fresh_repository, position) is not None
    written = new_id()
    await fresh_repository.save(edition(written, 1))
    changes = await told(fresh_repository, position)
    assert changes is not None
    assert changes[written] == 1


async def test_more_changes_than_one_look_can_hold_are_told_as_everything(fresh_repository: Repository, fresh_engine: AsyncEngine) -> None:
    first = new_id()
    await fresh_repository.save(edition(first, 1))
    position = await now(fresh_repository)
    many = "INSERT INTO session_analytics_change (session_id, version) SELECT gen_random_uuid(), 1 FROM generate_series(1, :count)"
    await sql(fresh_engine, many, count=4_990)
    changes = await told(fresh_repository, position)
    assert changes is not None
    assert len(changes.keys() - {first}) == 4_990
    await sql(fresh_engine, many, count=20)
    assert await told(fresh_repository, position) is None


# Trimming


async def aged(engine: AsyncEngine, hours: int) -> None:
    await sql(
        engine, "UPDATE session_analytics_change SET changed_at = changed_at - CAST(:hours AS integer) * interval '1 hour'", hours=hours
    )


async def length(engine: AsyncEngine) -> int:
    return int((await sql(engine, "SELECT count(*) FROM session_analytics_change"))[0][0])


async def test_changes_of_two_days_ago_leave_the_log_and_versions_stay(fresh_repository: Repository, fresh_engine: AsyncEngine) -> None:
    old = [new_id() for _ in range(8)]
    for session_id in old:
        await fresh_repository.save(edition(session_id, 1))
    position = await now(fresh_repository)
    assert await length(fresh_engine) == 8
    await aged(fresh_engine, 49)
    young = [new_id() for _ in range(3)]
    for session_id in young:
        await fresh_repository.save(edition(session_id, 1))
    assert await length(fresh_engine) == 3
    changes = await told(fresh_repository, position)
    assert changes is None or changes.keys() == set(young)
    for session_id in old:
        assert (await fresh_repository.save(edition(session_id, 2))).version == 2


async def test_changes_of_less_than_two_days_ago_stay(fresh_repository: Repository, fresh_engine: AsyncEngine) -> None:
    for _ in range(8):
        await fresh_repository.save(edition(new_id(), 1))
    await aged(fresh_engine, 47)
    await fresh_repository.save(edition(new_id(), 1))
    assert await length(fresh_engine) == 9


async def test_the_log_stays_bounded_whatever_the_number_of_writes(fresh_repository: Repository, fresh_engine: AsyncEngine) -> None:
    session_id = new_id()
    for number in range(40):
        await fresh_repository.save(edition(session_id, number))
        await aged(fresh_engine, 30)
    assert await length(fresh_engine) <= 4


async def test_a_position_older_than_a_trimmed_log_is_told_as_everything(fresh_repository: Repository, fresh_engine: AsyncEngine) -> None:
    before = await now(fresh_repository)
    for _ in range(4):
        await fresh_repository.save(edition(new_id(), 1))
    await aged(fresh_engine, 49)
    await fresh_repository.save(edition(new_id(), 1))
    assert await told(fresh_repository, before) is None


async def test_a_log_emptied_by_hand_is_told_as_everything(fresh_repository: Repository, fresh_engine: AsyncEngine) -> None:
    before = await now(fresh_repository)
    await fresh_repository.save(edition(new_id(), 1))
    await aged(fresh_engine, 49)
    await fresh_repository.save(edition(new_id(), 1))
    await sql(fresh_engine, "DELETE FROM session_analytics_change")
    assert await told(fresh_repository, before) is None


async def test_a_trimming_beside_one_that_is_undone_leaves_no_gap(fresh_repository: Repository, fresh_engine: AsyncEngine) -> None:
    """Two writers trim at once, and the one that took the oldest changes rolls back: then nothing younger may be gone alone."""
    old = [new_id() for _ in range(12)]
    positions = []
    for session_id in old:
        positions.append(await now(fresh_repository))
        await fresh_repository.save(edition(session_id, 1))
    await aged(fresh_engine, 49)
    async with fresh_engine.connect() as undone:
        transaction = await undone.begin()
        await put(undone, new_id(), 1)
        await fresh_repository.save(edition(new_id(), 1))
        await transaction.rollback()
    for place, position in enumerate(positions):
        changes = await told(fresh_repository, position)
        assert changes is None or set(old[place:]) <= changes.keys(), place


# Other programs


@pytest.fixture
async def writer(fresh_engine: AsyncEngine, fresh_database_url: str) -> Any:
    """An engine of a role that may read and write session_analytics, and nothing else."""
    role = f"writer_{new_id().hex[:12]}"
    await sql(fresh_engine, f"CREATE ROLE {role} LOGIN PASSWORD 'test'")
    await sql(fresh_engine, f"GRANT USAGE ON SCHEMA public TO {role}")
    await sql(fresh_engine, f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON session_analytics TO {role}")
    url = sa.make_url(fresh_database_url).set(username=role, password="test")
    engine = create_engine(url.render_as_string(hide_password=False), PostgresPolicy(pool_size=1))
    yield engine
    await engine.dispose()
    await sql(fresh_engine, f"DROP OWNED BY {role}")
    await sql(fresh_engine, f"DROP ROLE {role}")


async def test_a_role_that_may_only_write_the_analytics_is_logged_all_the_same(fresh_repository: Repository, writer: AsyncEngine) -> None:
    session_id = new_id()
    position = await now(fresh_repository)
    async with writer.begin() as connection:
        await put(connection, session_id, 1)
    async with writer.begin() as connection:
        await put(connection, session_id, 2)
    answer = await fresh_repository.get(session_id)
    assert answer is not None
    assert (answer.version, number_of(answer.analytics)) == (2, 2)
    assert await told(fresh_repository, position) == {session_id: 2}
    await sql(writer, "DELETE FROM session_analytics")
    assert await told(fresh_repository, position) == {session_id: 3}
    await sql(writer, "TRUNCATE session_analytics")
    assert await told(fresh_repository, position) is None


@pytest.mark.parametrize("table", ["session_analytics_change", "session_analytics_version", "session_analytics_store"])
async def test_such_a_role_cannot_write_the_log_itself(writer: AsyncEngine, table: str) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="permission denied"):
        await sql(writer, f"DELETE FROM {table}")


async def test_who_may_not_write_the_analytics_may_not_by_our_functions_either(
    fresh_engine: AsyncEngine, fresh_repository: Repository, writer: AsyncEngine
) -> None:
    await fresh_repository.save(edition(session_id := new_id(), 1))
    await sql(fresh_engine, f"GRANT SELECT ON session_analytics_version TO {writer.url.username}")
    allowed = Repository(writer)
    assert (await allowed.save(edition(session_id, 2))).version == 2
    await sql(fresh_engine, f"REVOKE INSERT, UPDATE, DELETE ON session_analytics FROM {writer.url.username}")
    for write in (allowed.save(edition(session_id, 3)), allowed.delete(session_id)):
        with pytest.raises(StorageRefused, match="rights"):
            await write
    assert (answer := await allowed.get(session_id)) is not None
    assert (answer.version, number_of(answer.analytics)) == (2, 2)


async def test_a_role_that_hides_our_tables_behind_temporary_ones_is_logged_in_ours(
    fresh_repository: Repository, writer: AsyncEngine
) -> None:
    session_id = new_id()
    position = await now(fresh_repository)
    async with writer.begin() as connection:
        await sql_on(connection, "CREATE TEMPORARY TABLE session_analytics_change (session_id uuid, version bigint)")
        await sql_on(connection, "CREATE TEMPORARY TABLE session_analytics_version (session_id uuid PRIMARY KEY, version bigint)")
        await sql_on(connection, "SET LOCAL search_path = pg_temp, public")
        await put(connection, session_id, 1)
    assert await told(fresh_repository, position) == {session_id: 1}


async def test_every_write_wakes_those_who_listen(fresh_engine: AsyncEngine, fresh_repository: Repository) -> None:
    woken = 0

    def wake(*_: object) -> None:
        nonlocal woken
        woken += 1

    async def times() -> int:
        return woken

    async with fresh_engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        listener: asyncpg.Connection = raw
        await listener.add_listener("session_analytics_change", wake)
        await fresh_repository.save(edition(new_id(), 1))
        await eventually(times, lambda count: count == 1)
        await sql(fresh_engine, "TRUNCATE session_analytics")
        await eventually(times, lambda count: count == 2)
        await listener.remove_listener("session_analytics_change", wake)


async def test_a_store_that_lost_its_identity_is_not_ready(fresh_engine: AsyncEngine, fresh_repository: Repository) -> None:
    identity = await fresh_repository.store_id()
    assert identity == await fresh_repository.store_id()
    await sql(fresh_engine, "DELETE FROM session_analytics_store")
    with pytest.raises(StorageNotReady, match="emg-sessions db upgrade"):
        await fresh_repository.store_id()


async def test_a_store_cannot_have_two_identities(fresh_engine: AsyncEngine) -> None:
    for row in ("DEFAULT VALUES", "(only_row) VALUES (false)"):
        with pytest.raises(sa.exc.IntegrityError):
            await sql(fresh_engine, f"INSERT INTO session_analytics_store {row}")
