"""Brings a database's schema up to this program's, by the migrations in alembic/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeGuard

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.errors import translated
from domain.errors import StorageRefused

if TYPE_CHECKING:
    from alembic.config import Config

# The newest of alembic/versions; a test compares. Known here, so that only an upgrade that has something to do imports Alembic.
HEAD: Final = "0004"

# One migration at a time, whatever the number of processes that start at once. The number is arbitrary and must never change.
LOCK: Final = 7_236_041_955_106_227

UNKNOWN_REVISION: Final = "alembic_version in DATABASE_URL holds no revision of this program; is it another program's database?"


async def upgrade(engine: AsyncEngine, *, revision: str = HEAD) -> tuple[str | None, str | None]:
    """Upgrades to a revision in one transaction; returns the revisions before and after. Nothing happens if it is there already, or a
    newer one than this program knows.

    Any number of processes may call this at once: they take turns. Raises StorageError as the adapters do.
    """
    with translated():
        async with engine.connect() as connection:
            before = await connection.run_sync(_revision)
            if before == revision or is_newer(before):
                return before, before
            if before is not None and not is_numbered(before):
                raise StorageRefused(UNKNOWN_REVISION)
            from alembic.util import CommandError  # noqa: PLC0415

            from alembic import command  # noqa: PLC0415

            await connection.rollback()
            # Before Alembic, whose context is one for the whole process: two upgrades in one event loop would mix theirs up.
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            if is_newer(found := await connection.run_sync(_revision)):  # A newer program may have had the turn before.
                return found, found
            try:
                await connection.run_sync(lambda sync: command.upgrade(_config(sync), revision))
            except CommandError as error:
                raise StorageRefused(UNKNOWN_REVISION) from error
            after = await connection.run_sync(_revision)
            await connection.commit()
    return before, after


async def downgrade(engine: AsyncEngine, *, revision: str) -> None:
    """Goes back to a revision, data included. For tests and for people who know what they lose."""
    from alembic import command  # noqa: PLC0415

    with translated():
        async with engine.connect() as connection:
            await connection.run_sync(lambda sync: command.downgrade(_config(sync), revision))
            await connection.commit()


def is_newer(revision: str | None) -> bool:
    """Whether a revision is of a later version of this program, by its number."""
    return is_numbered(revision) and revision > HEAD


def is_numbered(revision: str | None) -> TypeGuard[str]:
    """Whether it is a revision of this program's at all, of whatever version: they are numbered."""
    return revision is not None and re.fullmatch("[0-9]{4}", revision) is not None


def folder() -> Path:
    """Where the migrations are: packed beside this module in a wheel, at the repository's top in a checkout."""
    packed = Path(__file__).parent / "alembic"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "alembic"


def _config(connection: sa.Connection | None = None) -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision
