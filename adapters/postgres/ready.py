"""Connections that are open, and have prepared the statements that matter most, before they are needed.

A pool opens a connection when one is asked for and none is free: 5 to 10 ms of the processor. As long as a cache answers, two or three are
in use; when it goes away its readers all come here in the same moment, and would have to open the others first (docs/adr/0026).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.ending import end
from adapters.postgres.engine import PostgresPolicy, opened
from adapters.postgres.errors import DRIVER_ERRORS

Read = tuple[sa.Executable, dict[str, Any]]
"""A statement that changes nothing, and values to try it with."""


class ReadyConnections:
    """Keeps some connections of a pool ready for `reads`, from `begin` to `aclose`. `engine` belongs to the caller.

    What the pool closes (for its age) or loses (with the server) is replaced in the next pass. Nobody waits for a pass, and none fails.
    """

    def __init__(self, engine: AsyncEngine, reads: Sequence[Read], policy: PostgresPolicy) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._reads = reads
        self._count = min(policy.ready, policy.pool_size)
        self._every_s = policy.ready_every_s
        self._keeping: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Makes the first pass in the background, and others after it."""
        self._keeping = asyncio.create_task(self._keep(), name="ready connections")

    async def aclose(self) -> None:
        """Ends that. The connections stay the pool's."""
        await end(self._keeping)

    async def make_ready(self) -> None:
        """One pass. Where as many connections are in use it has nothing to do, and takes none. Raises the driver's errors."""
        pool = cast(sa.QueuePool, self._engine.pool)
        async with AsyncExitStack() as held:
            while pool.checkedout() < self._count:  # Ours are in use, too.
                connection = await opened(self._engine)
                held.push_async_callback(connection.close)
                for statement, values in self._reads:
                    await connection.execute(statement, values)

    async def _keep(self) -> None:
        while True:
            with suppress(*DRIVER_ERRORS):  # Whoever needs the database will tell.
                await self.make_ready()
            await asyncio.sleep(self._every_s)
