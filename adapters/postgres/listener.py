"""Hears of writes by LISTEN, on a connection that comes back by itself. What it tells is a hint; the change log is what counts.

The change log is read on that connection too, as long as it is there: in the pool the relay would queue behind every read and write, and
where the database is busiest, caches would fall out of step just then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.postgres.engine import opened
from adapters.postgres.errors import DRIVER_ERRORS

_CHANNEL: Final = "session_analytics_change"
_AGAIN_S: Final = 1.0
_AGAIN_S_MAX: Final = 30.0
# A connection whose other end vanished without a word looks like one on which nothing happens.
_ALIVE_EVERY_S: Final = 30.0
_ALIVE: Final = sa.text("SELECT 1")


class Listener:
    """A connection besides the pool's, for as long as somebody listens. `engine` belongs to the caller, and is on autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._ended = asyncio.Event()
        self._asking = asyncio.Lock()
        self._log = structlog.get_logger(__name__)

    @asynccontextmanager
    async def listening(self, on_write: Callable[[], None]) -> AsyncIterator[None]:
        """Calls `on_write` for every notification, and whenever some may have been missed, as long as the context lasts."""
        task = asyncio.create_task(self._listen(on_write), name="change listener")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def read(self, statement: sa.Executable, values: dict[str, Any]) -> list[sa.Row[Any]] | None:
        """What a statement returns; None if the connection is not there, or did not do it."""
        async with self._asking:
            if self._connection is None:
                return None
            try:
                return list((await self._connection.execute(statement, values)).all())
            except BaseException as error:
                # Whatever is the matter with it, a new one is surer; also where we were cancelled amid a question.
                self._connection = None
                self._ended.set()
                if isinstance(error, DRIVER_ERRORS):
                    return None
                raise

    async def _listen(self, on_write: Callable[[], None]) -> None:
        again_s = _AGAIN_S
        while True:
            began_s = asyncio.get_running_loop().time()
            try:
                await self._listen_once(on_write)
            except DRIVER_ERRORS as error:
                # Nobody depends on it: without it writes are found by polling, within the same bound.
                self._log.info("change_listener_lost", error=type(error).__name__)
            listened_s = asyncio.get_running_loop().time() - began_s
            again_s = _AGAIN_S if listened_s > _ALIVE_EVERY_S else min(2 * again_s, _AGAIN_S_MAX)
            await asyncio.sleep(again_s * (0.5 + 0.5 * random.random()))  # noqa: S311 - spreads processes out, keeps no secret

    async def _listen_once(self, on_write: Callable[[], None]) -> None:
        """Returns when the connection has ended."""
        connection, driver = await self._opened()
        try:
            ended = self._ended = asyncio.Event()
            driver.add_termination_listener(lambda _: ended.set())
            await driver.add_listener(_CHANNEL, lambda *_: on_write())
            on_write()  # Whatever was written before we listened.
            self._connection = connection
            while not ended.is_set():
                try:
                    async with asyncio.timeout(_ALIVE_EVERY_S):
                        await ended.wait()
                except TimeoutError:
                    async with self._asking:
                        await connection.execute(_ALIVE)
        finally:
            self._connection = None
            await _closed(connection, driver, self._asking)

    async def _opened(self) -> tuple[AsyncConnection, Any]:
        """A connection out of the pool, whose places are for reads and writes (the pool opens another when it needs one), and the driver's
        own below it, which knows of LISTEN."""
        connection = await opened(self._engine)
        driver = (await connection.get_raw_connection()).driver_connection
        assert connection.sync_connection is not None  # noqa: S101 - it is connected
        connection.sync_connection.detach()
        return connection, driver


async def _closed(connection: AsyncConnection, driver: Any, asking: asyncio.Lock) -> None:
    async def close() -> None:
        async with asking:  # Whoever asks has its answer first.
            try:
                await connection.close()
            finally:
                # Of a question that was cancelled, SQLAlchemy lets go of a detached connection without closing it.
                if not driver.is_closed():
                    driver.terminate()

    with suppress(*DRIVER_ERRORS):
        await asyncio.shield(asyncio.create_task(close()))
