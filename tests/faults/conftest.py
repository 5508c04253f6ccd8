"""Processes and servers to be broken, and the history they leave."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from tests.faults.history import History
from tests.faults.witness import NotedTruth, Witness
from tests.patience import eventually
from tests.stores import engine

__all__ = ["engine"]

_ROOT: Final = Path(__file__).parents[2]
_PROCESS_S: Final = 40.0
_LATE_S: Final = 0.05


@dataclass
class Child:
    """A running actor."""

    process: Process

    async def do(self, what: str, **details: Any) -> Any:
        """What it answers to an order."""
        await self.send(what, **details)
        return await self.answer()

    async def send(self, what: str, **details: Any) -> None:
        """An order alone."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **details}).encode() + b"\n")
        await self.process.stdin.drain()

    async def answer(self) -> Any:
        """The next answer."""
        assert self.process.stdout is not None
        async with asyncio.timeout(_PROCESS_S):
            line = await self.process.stdout.readline()
        assert line, "the process ended"
        return json.loads(line)["answer"]

    async def killed(self) -> None:
        """Waits for its death by its own hand."""
        async with asyncio.timeout(_PROCESS_S):
            assert await self.process.wait() == -signal.SIGKILL

    async def stopped(self) -> None:
        """Waits until it has stopped itself."""

        async def status() -> str:
            return psutil.Process(self.process.pid).status()

        await eventually(status, lambda status: status == psutil.STATUS_STOPPED, within_s=_PROCESS_S)

    def cont(self) -> None:
        """Lets it go on."""
        self.process.send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """Ends it, as politely as it lets us."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self.process.stdout.read()
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@dataclass
class Scene:
    """A truth, caches over it in this process and in others, and the history of all of them."""

    engine: AsyncEngine
    database_url: str
    prefix: str
    folder: Path
    stack: AsyncExitStack
    history: History = field(default_factory=History)

    @property
    def reads_of_the_truth(self) -> list[str]:
        """Which other process read the truth, once for each read."""
        notes = self.folder / "reads"
        return notes.read_text().splitlines() if notes.exists() else []

    @property
    def truth(self) -> PostgresSessionAnalyticsRepository:
        """Past all caches."""
        return PostgresSessionAnalyticsRepository(self.engine)

    def past_the_cache(self) -> NotedTruth:
        """For a writer that knows of no cache, as one with psql: nobody hears that its writes are acknowledged."""
        return NotedTruth(self.truth, self.history, "SQL")

    async def cache(
        self, redis_url: str, policy: CachePolicy, name: str, *, relays: bool = True
    ) -> tuple[Witness, RedisCachedSessionAnalyticsRepository]:
        """One in this process."""
        truth = NotedTruth(self.truth, self.history, name)
        truth.late_s = _LATE_S
        cache = cached(truth, truth, redis_url=redis_url, key_prefix=self.prefix, policy=policy)
        await cache.open(relays=relays)
        self.stack.push_async_callback(cache.aclose)
        return Witness(cache, self.history, name), cache

    async def processes(self, count: int, redis_url: str, policy: CachePolicy) -> list[Child]:
        """Some in processes of their own."""
        return list(await asyncio.gather(*(self._process(redis_url, policy, f"process {number}") for number in range(count))))

    async def _process(self, redis_url: str, policy: CachePolicy, name: str) -> Child:
        config = {
            "database_url": self.database_url,
            "redis_url": redis_url,
            "prefix": self.prefix,
            "policy": asdict(policy),
            "history": str(self.folder / "history"),
            "reads": str(self.folder / "reads"),
            "name": name,
        }
        command = [sys.executable, "-m", "tests.faults.actor", json.dumps(config)]
        child = Child(await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdin=PIPE, stdout=PIPE))
        self.stack.push_async_callback(child.close)
        assert await child.answer() == "ready"
        return child

    def check(self, policy: CachePolicy) -> None:
        """All promises, in all processes."""
        whole = History(events=list(self.history.events))
        whole.add_from(self.folder / "history")
        whole.check(bound_s=policy.heartbeat_s, near_trust_s=policy.near_trust_s)


@pytest.fixture
async def scene(engine: AsyncEngine, database_url: str, redis_prefix: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene on this worker's database."""
    async with AsyncExitStack() as stack:
        yield Scene(engine, database_url, redis_prefix, tmp_path, stack)
