"""What the cache does while nobody asks: it stays in step with the truth, samples itself, and shares its counts."""

from __future__ import annotations

import asyncio

from adapters.ending import end
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.sampler import StalenessSampler
from adapters.redis_cache.server import Exchanges
from adapters.redis_cache.stats import CacheStats


class Keeping:
    """Owns the tasks of the relay and of the sampler. They are two, so that neither waits for the other, and looks fall at any moment
    between two passes."""

    def __init__(self, relay: Relay, sampler: StalenessSampler, server: Exchanges, stats: CacheStats) -> None:
        self._relay = relay
        self._sampler = sampler
        self._server = server
        self._stats = stats
        self.relaying: asyncio.Task[None] | None = None
        self.sampling: asyncio.Task[None] | None = None

    async def begin(self, *, relays: bool) -> None:
        """One pass of the relay, then both tasks; without the relay's if `relays` is False."""
        await self._relay.begin()
        if relays:
            self.relaying = asyncio.create_task(self._keep_in_step(), name="cache relay")
        self.sampling = asyncio.create_task(self._keep_sampling(), name="cache sampler")

    async def end(self) -> None:
        """Ends both tasks."""
        for task in (self.relaying, self.sampling):
            await end(task)

    async def share_counts(self) -> None:
        """Adds what was counted here to the totals of all processes."""
        await self._stats.share(self._server, *self._relay.partitions)

    async def _keep_in_step(self) -> None:
        async with self._relay.listening():
            while True:
                await self._relay.next_pass()
                await self.share_counts()

    async def _keep_sampling(self) -> None:
        while (pause_s := self._sampler.pause_s()) is not None:
            await asyncio.sleep(pause_s)
            if self._relay.partitions:
                await self._sampler.look(*self._relay.partitions)
