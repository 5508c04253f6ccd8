"""The schema: climbed, descended, and the same as the tables in Core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import migrations
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.health import PostgresHealth
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.postgres.tables import Xid8, metadata
from domain.errors import StorageError, StorageNotReady, StorageRefused, StoredDataInvalid
from domain.mvc import GivenMvc
from tests.servers import new_database
from tests.strategies import new_id, some_analytics, some_session


def revisions() -> list[str]:
    """All revisions, the oldest first."""
    config = Config()
    config.set_main_option("script_location", str(migrations.folder()))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database without tables."""
    engine = create_engine(empty_database_url, PostgresPolicy())
    yield engine
    await engine.dispose()


async def objects(engine: AsyncEngine) -> set[tuple[str, str]]:
    """The names and kinds of all that is in the schema, Alembic's own table apart."""
    async with engine.connect() as connection:
        rows = await connection.execute(
            sa.text("""
            SELECT relkind::text, relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
              AND relname NOT LIKE 'alembic_version%'
            UNION ALL SELECT 'function', proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL SELECT 'trigger', tgname::text FROM pg_trigger WHERE NOT tgisinternal
            UNION ALL SELECT 'type', typname::text FROM pg_type WHERE typnamespace = 'public'::regnamespace
              AND typname NOT LIKE '%alembic_version'
        """)
        )
        return {(row[0], row[1]) for row in rows}


async def test_every_migration_climbs_descends_and_climbs_again(empty: AsyncEngine) -> None:
    steps = ["base", *revisions()]
    seen = {"base": await objects(empty)}
    assert seen["base"] == set()
    for below, step in pairwise(steps):
        assert await migrations.upgrade(empty, revision=step) == (None if below == "base" else below, step)
        seen[step] = await objects(empty)
        await migrations.downgrade(empty, revision=below)
        assert await objects(empty) == seen[below]
        await migrations.upgrade(empty, revision=step)
        assert await objects(empty) == seen[step]
    for below, step in reversed(list(pairwise(steps))):
        assert await objects(empty) == seen[step]
        await migrations.downgrade(empty, revision=below)
    assert await objects(empty) == set()


async def test_sessions_from_before_have_no_mvc_values_and_outlive_a_descent(empty: AsyncEngine) -> None:
    await migrations.upgrade(empty, revision="0002")
    session_id = new_id()
    async with empty.begin() as connection:
        await connection.execute(
            sa.text(
                "INSERT INTO therapy_session (session_id, file_name, registered_at, state, progress) "
                "VALUES (:id, 'a.c3d', now(), 'completed', 1)"
            ),
            {"id": session_id},
        )
    await migrations.upgrade(empty, revision="0003")
    registry = PostgresSessionRegistry(empty)
    before = await registry.find(session_id)
    assert before is not None
    assert before.mvc is None
    given = await registry.remeasure(session_id, GivenMvc(None, (("CH1", 3e-4),)))
    assert given is not None
    await migrations.downgrade(empty, revision="0002")
    await migrations.upgrade(empty, revision="0003")
    assert await registry.find(session_id) == replace(given, mvc=None)


async def test_writes_to_a_schema_from_before_name_the_command_and_reads_go_on(empty: AsyncEngine) -> None:
    await migrations.upgrade(empty, revision="0004")
    repository, analytics = PostgresSessionAnalyticsRepository(empty), some_analytics()
    await repository.save(analytics)
    await migrations.downgrade(empty, revision="0003")
    for write in (repository.save(some_analytics()), repository.delete(analytics.session_id)):
        with pytest.raises(StorageNotReady, match="run: emg-sessions db upgrade"):
            await write
    assert (answer := await repository.get(analytics.session_id)) is not None
    assert (answer.analytics, answer.version) == (analytics, 1)


@pytest.mark.parametrize("value", ["[]", "1", "null"])
async def test_the_database_keeps_what_is_no_object_out_of_the_mvc_values(upgraded: AsyncEngine, value: str) -> None:
    session = some_session()
    await PostgresSessionRegistry(upgraded).register(session)
    with pytest.raises(sa.exc.IntegrityError, match="ck_therapy_session_mvc"):
        async with upgraded.begin() as connection:
            await connection.execute(sa.text("UPDATE therapy_session SET mvc = CAST(:value AS jsonb)"), {"value": value})


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        '{"every_channel": "much"}',
        '{"every_channel": 0}',
        '{"by_channel": [1]}',
        '{"by_channel": {"": 1}}',
        '{"by_channel": {"CH1": null}}',
    ],
)
async def test_mvc_values_that_others_damaged_are_told_with_the_remedy(upgraded: AsyncEngine, value: str) -> None:
    session = some_session()
    registry = PostgresSessionRegistry(upgraded)
    await registry.register(session)
    async with upgraded.begin() as connection:
        await connection.execute(sa.text("UPDATE therapy_session SET mvc = CAST(:value AS jsonb)"), {"value": value})
    with pytest.raises(StoredDataInvalid, match=f"{session.session_id}: .* set it to NULL"):
        await registry.find(session.session_id)


async def test_the_head_known_to_the_program_is_alembics() -> None:
    assert revisions()[-1] == migrations.HEAD


@pytest.fixture
async def upgraded(empty: AsyncEngine) -> AsyncEngine:
    """An engine on a database with the program's tables, and without the queue's."""
    await migrations.upgrade(empty)
    return empty


async def test_an_upgrade_with_nothing_to_do_does_nothing(fresh_engine: AsyncEngine) -> None:
    assert await migrations.upgrade(fresh_engine) == (migrations.HEAD, migrations.HEAD)


async def test_upgrades_at_once_take_turns(empty: AsyncEngine, empty_database_url: str) -> None:
    other = create_engine(empty_database_url, PostgresPolicy())
    try:
        moves = await asyncio.gather(*(migrations.upgrade(engine) for engine in (empty, other, empty, other)))
        assert [after for _, after in moves] == [migrations.HEAD] * 4
        for engine in (empty, other):
            repository, analytics = PostgresSessionAnalyticsRepository(engine), some_analytics()
            assert (await repository.save(analytics)).version == 1
    finally:
        await other.dispose()


async def test_an_upgrade_that_was_interrupted_leaves_nothing(empty: AsyncEngine) -> None:
    async with empty.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE session_analytics_store (in_the_way integer)"))
    with pytest.raises(StorageError, match="42P07"):
        await migrations.upgrade(empty)
    assert {name for _, name in await objects(empty)} == {"session_analytics_store", "_session_analytics_store"}
    async with empty.begin() as connection:
        await connection.execute(sa.text("DROP TABLE session_analytics_store"))
    assert (await migrations.upgrade(empty))[1] == migrations.HEAD


async def test_the_tables_in_core_are_the_migrated_ones_by_alembics_comparison(upgraded: AsyncEngine) -> None:
    def differences(connection: sa.Connection) -> list[Any]:
        # SQLAlchemy knows no xid8, and says so while it reads the tables; the next test compares by PostgreSQL's own words.
        connection.dialect.ischema_names["xid8"] = Xid8  # type: ignore[attr-defined]
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        found: list[Any] = compare_metadata(context, metadata)
        return found

    async with upgraded.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_tables_in_core_are_the_migrated_ones_column_by_column(postgres_server: str, upgraded: AsyncEngine) -> None:
    """PostgreSQL's own description of both: types, nullability, defaults, generation expressions, indexes and constraints."""

    async def described(engine: AsyncEngine) -> set[tuple[object, ...]]:
        async with engine.connect() as connection:
            columns = await connection.execute(
                sa.text("""
                SELECT attrelid::regclass::text, attname::text, format_type(atttypid, atttypmod), attnotnull, attidentity::text,
                       attgenerated::text, pg_get_expr(adbin, adrelid)
                FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                WHERE attrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)
                  AND attnum > 0 AND NOT attisdropped
            """)
            )
            indexes = await connection.execute(sa.text("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"))
            constraints = await connection.execute(
                sa.text("""
                SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
                WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
            """)
            )
            told = [*columns, *indexes, *constraints]
            return {tuple(row) for row in told if not str(row[0]).startswith("alembic_version") and "alembic_version" not in str(row[0])}

    async with upgraded.connect() as connection:
        functions = [
            (await connection.execute(sa.text("SELECT pg_get_functiondef(CAST(:name AS regproc))"), {"name": name})).scalar_one()
            for name in ("iso_timestamp", "iso_timestamptz")
        ]
    with new_database(postgres_server) as url:
        by_core = create_engine(url, PostgresPolicy())
        try:
            async with by_core.begin() as connection:
                for function in functions:
                    await connection.exec_driver_sql(function)
                await connection.run_sync(metadata.create_all)
            assert await described(by_core) == await described(upgraded)
        finally:
            await by_core.dispose()


async def revision_becomes(engine: AsyncEngine, revision: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


async def test_a_newer_schema_is_left_as_it_is(empty: AsyncEngine) -> None:
    await migrations.upgrade(empty)
    await revision_becomes(empty, "9999")
    assert await migrations.upgrade(empty) == ("9999", "9999")


@pytest.mark.parametrize("revision", ["garbage", "0000", "", "ae1027a6acf"])
async def test_a_revision_that_is_nobodys_is_refused(empty: AsyncEngine, revision: str) -> None:
    await migrations.upgrade(empty)
    await revision_becomes(empty, revision)
    with pytest.raises(StorageRefused, match="alembic_version"):
        await migrations.upgrade(empty)
    if revision != "0000":
        assert (await PostgresHealth(empty).look()).status == "unhealthy"
