"""A process with a cache of its own, to be frozen and killed. Lines of JSON go in and out; it ends with its input."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from domain.ports import Freshness
from domain.session import SessionId
from tests.faults.history import History, now_s
from tests.faults.witness import NotedTruth, Witness


class Actor:
    """Does what it is told."""

    def __init__(self, truth: NotedTruth, witness: Witness) -> None:
        self._truth = truth
        self._witness = witness

    async def do(self, order: dict[str, Any]) -> Any:
        """One order."""
        match order:
            case {"do": "read", "key": key, "callers": callers, "at_s": at_s}:
                await asyncio.sleep(max(0.0, at_s - now_s()))
                session_id = SessionId(UUID(key))
                answers = await asyncio.gather(*(self._witness.read(session_id, Freshness.BOUNDED) for _ in range(callers)))
                return [answer.version for answer in answers]
            case {"do": "write", "key": key, "number": number}:
                return (await self._witness.write(SessionId(UUID(key)), number)).fresh
            case {"do": "die after commit"}:
                self._truth.after_commit = lambda: os.kill(os.getpid(), signal.SIGKILL)
            case {"do": "stop after look"}:
                self._truth.after_look = self._stop_once
            case _:
                raise ValueError(order)
        return None

    def _stop_once(self) -> None:
        self._truth.after_look = lambda: None
        os.kill(os.getpid(), signal.SIGSTOP)


async def main(config: dict[str, Any]) -> None:
    """Serves until the input ends."""
    history = History(Path(config["history"]))
    engine = create_engine(config["database_url"], PostgresPolicy(pool_size=5))
    truth = NotedTruth(PostgresSessionAnalyticsRepository(engine), history, config["name"])

    def note_read() -> None:
        with Path(config["reads"]).open("a") as reads:
            reads.write(f"{config['name']}\n")

    truth.before_reading = note_read
    cache = cached(
        truth, truth, redis_url=config["redis_url"], key_prefix=config["prefix"], policy=CachePolicy(**config["policy"])
    )  # fmt: skip
    await cache.open()
    try:
        actor = Actor(truth, Witness(cache, history, config["name"]))
        _say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            _say(await actor.do(json.loads(line)))
    finally:
        await cache.aclose()
        await engine.dispose()


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps({"answer": answer}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # Our answers go to stdout.
    asyncio.run(main(json.loads(sys.argv[1])))
