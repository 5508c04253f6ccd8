"""Hears of writes by LISTEN, on a connection that comes back by itself. What it tells is a hint; the change log is what counts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.errors import DRIVER_ERRORS

_CHANNEL: Final = "session_analytics_change"
_AGAIN_S: Final = 1.0
_AGAIN_S_MAX: Final = 30.0
# A connection whose other end vanished without a word looks like one on which nothing happens.
_ALIVE_EVERY_S: Final = 30.0


@asynccontextmanager
async def listening(engine: AsyncEngine, on_write: Callable[[], None]) -> AsyncIterator[None]:
    """Calls `on_write` for every notification, and whenever some may have been missed, as long as the context lasts."""
    task = asyncio.create_task(_listen(engine, on_write), name="change listener")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _listen(engine: AsyncEngine, on_write: Callable[[], None]) -> None:
    log = structlog.get_logger(__name__)
    again_s = _AGAIN_S
    while True:
        began_s = asyncio.get_running_loop().time()
        try:
            await _listen_once(engine, on_write)
        except DRIVER_ERRORS as error:
            # Nobody depends on it: without it writes are found by polling, within the same bound.
            log.info("change_listener_lost", error=type(error).__name__)
        listened_s = asyncio.get_running_loop().time() - began_s
        again_s = _AGAIN_S if listened_s > _ALIVE_EVERY_S else min(2 * again_s, _AGAIN_S_MAX)
        await asyncio.sleep(again_s * (0.5 + 0.5 * random.random()))  # noqa: S311 - spreads processes out, keeps no secret


async def _listen_once(engine: AsyncEngine, on_write: Callable[[], None]) -> None:
    """Returns when the connection has ended."""
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        # Out of the pool, whose places are for reads and writes; the pool opens another when it needs one.
        assert connection.sync_connection is not None  # noqa: S101 - it is connected
        connection.sync_connection.detach()
        ended = asyncio.Event()
        driver.add_termination_listener(lambda _: ended.set())
        await driver.add_listener(_CHANNEL, lambda *_: on_write())
        on_write()  # Whatever was written before we listened.
        while not ended.is_set():
            try:
                async with asyncio.timeout(_ALIVE_EVERY_S):
                    await ended.wait()
            except TimeoutError:
                await driver.execute("SELECT 1")
