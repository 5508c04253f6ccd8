"""Connections to PostgreSQL: every timeout and size chosen here, in sight."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from adapters.postgres.address import TRANSLATED, asyncpg_arguments, asyncpg_url
from adapters.postgres.errors import DRIVER_ERRORS
from domain.errors import InvalidSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPolicy:
    """The bounds on talking to PostgreSQL. Everything that waits ends after the time named."""

    pool_size: int = 10
    pool_wait_s: float = 5.0
    connect_s: float = 5.0
    statement_s: float = 10.0
    connection_age_s_max: float = 1800.0
    ready: int = 6
    """So many connections a server keeps open, needed or not; no more than the pool has."""
    ready_every_s: float = 30.0

    def __post_init__(self) -> None:
        if self.pool_size < 1:
            raise InvalidSettings(f"DATABASE_POOL_SIZE must be at least 1, not {self.pool_size}")
        if self.ready < 0:
            raise InvalidSettings(f"DATABASE: ready must be at least 0, not {self.ready}")
        for name in ("pool_wait_s", "connect_s", "statement_s", "connection_age_s_max", "ready_every_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidSettings(f"DATABASE: {name} must be a number above 0, not {getattr(self, name)}")


def create_engine(database_url: str, policy: PostgresPolicy) -> AsyncEngine:
    """An engine that connects at its first use. The caller disposes of it."""
    statement_ms = round(policy.statement_s * 1000)
    url = asyncpg_url(database_url)
    settings = {
        "application_name": "emg-sessions",
        "statement_timeout": str(statement_ms),
        "lock_timeout": str(statement_ms),
        "idle_in_transaction_session_timeout": str(statement_ms),
        "jit": "off",  # Reads by primary key: compiling them costs more than running them.
        "timezone": "UTC",
    }
    engine = create_async_engine(
        url,
        pool_size=policy.pool_size,
        max_overflow=0,  # The pool's size is the bound; what is over it waits, and not for long.
        pool_timeout=policy.pool_wait_s,
        pool_recycle=round(policy.connection_age_s_max),
        pool_pre_ping=False,  # A ping is a round trip a read. A dead connection is noticed in use, and the read repeated.
        pool_use_lifo=True,
        hide_parameters=True,  # Errors must not carry documents into logs.
        connect_args={
            **asyncpg_arguments(url, connect_s=policy.connect_s, server_settings=settings),
            # The server gives up first and says why; the driver's own limit is for a server that no longer answers.
            "command_timeout": policy.statement_s + 1.0,
        },
    )
    sa.event.listen(engine.sync_engine, "do_connect", _without_translated)
    return engine


async def opened(engine: AsyncEngine) -> AsyncConnection:
    """A connection of the pool, for the caller to close. Raises the driver's errors.

    Whoever is cancelled while it opens waits until it is there, and it is closed: the driver would leave it open. Opening has a deadline.
    """
    opening = asyncio.create_task(_connect(engine))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with suppress(*DRIVER_ERRORS):
            await (await opening).close()
        raise


async def _connect(engine: AsyncEngine) -> AsyncConnection:
    return await engine.connect()


def _without_translated(_dialect: Any, _record: Any, _positional: Any, arguments: dict[str, Any]) -> None:
    """SQLAlchemy passes all options of a URL on as arguments; these are among them under the driver's names already."""
    for name in TRANSLATED:
        arguments.pop(name, None)
    if "dsn" in arguments:
        arguments.pop("ssl", None)  # Given by itself, it would make the driver pass over the certificates.
