"""Runs the migrations: on the connection that adapters/postgres/migrations.py hands over, or on DATABASE_URL for the alembic command."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from adapters.postgres.engine import asyncpg_url
from adapters.postgres.migrations import LOCK
from adapters.postgres.tables import metadata
from alembic import context


def _migrate(connection: sa.Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()


async def _migrate_database_url() -> None:
    from adapters.settings import Settings

    settings = Settings()
    if settings.database_url is None:
        raise SystemExit("set DATABASE_URL to the database to migrate")
    engine = create_async_engine(asyncpg_url(settings.database_url.get_secret_value()))
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
    finally:
        await engine.dispose()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _migrate(handed_over)
else:
    asyncio.run(_migrate_database_url())
