"""What callers feel of a Redis that freezes, and of one that is gone and comes back: on real servers of the benchmark's own.

    python benchmarks/redis_outage.py [--freezes N] [--rate PER_S] [--json]

Freeze: Redis is stopped (SIGSTOP) again and again while reads go on, in pairs that fall due at one moment, one of each past the cache: so
the database's own latency is of the same moments. Asked: p99 at most the database's plus one command's deadline until the breaker is open,
and plus 1 ms from then on.

Outage: 1,000 reads and writes a second while Redis is killed and, after a while, started again, empty. Asked: no exception, no wrong
answer, full speed within 5 s of its return. Latency counts from when a call was due, so that waiting for a turn is part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import structlog

from adapters.embedded import EmbeddedPostgres, EmbeddedValkey
from adapters.postgres import migrations
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.redis_cache.breaker import BreakerState
from adapters.redis_cache.compose import cached
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from domain.ports import Freshness
from domain.session import SessionId
from tests.faults.history import History
from tests.faults.witness import NotedTruth, Witness
from tests.strategies import edition, new_id

SESSIONS: Final = 64
READS_PER_WRITE: Final = 9
FREEZE_RATE_PER_S: Final = 200.0
BUCKET_S: Final = 0.2
TICK_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it was due, how long it took from then, and who answered ("" for a write)."""

    what: str
    at_s: float
    took_s: float
    source: str


@dataclass
class Load:
    """Calls at a steady rate, whatever becomes of those before; so many of them fall due at the same moments."""

    call: Callable[[int], Awaitable[tuple[str, str]]]
    rate_per_s: float
    at_once: int = 1
    calls: list[Call] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, seconds: float) -> None:
        """Makes calls for so long."""
        begin, made = time.monotonic(), 0
        while (now := time.monotonic() - begin) < seconds:
            while (due_s := made // self.at_once * self.at_once / self.rate_per_s) <= now:
                task = asyncio.create_task(self._one(made, begin + due_s))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
                made += 1
            await asyncio.sleep(TICK_S)

    async def land(self) -> None:
        """Waits for the calls under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _one(self, number: int, due_s: float) -> None:
        try:
            what, source = await self.call(number)
        except Exception as error:  # noqa: BLE001 - that there is none is what is asked
            self.failures.append(repr(error))
        else:
            self.calls.append(Call(what, due_s, time.monotonic() - due_s, source))


def quantile_ms(calls: Sequence[Call], share: float) -> float | None:
    """So many of the calls were quicker, in ms."""
    took = sorted(call.took_s for call in calls)
    return round(1000 * took[min(len(took) - 1, int(share * len(took)))], 3) if took else None


class Servers:
    """A PostgreSQL and a Redis that may be hurt."""

    def __init__(self, folder: Path) -> None:
        self._postgres, self._valkey = EmbeddedPostgres(folder), EmbeddedValkey(folder)
        self.database_url, self.redis_url = self._postgres.open(), self._valkey.open()

    def signal_redis(self, number: signal.Signals) -> None:
        pid = self._valkey.pid()
        if pid is not None:
            os.kill(pid, number)

    def start_redis(self) -> None:
        self._valkey.open()

    def close(self) -> None:
        self.signal_redis(signal.SIGCONT)
        self._valkey.close()
        self._postgres.close()


async def freezes(servers: Servers, stored: PostgresSessionAnalyticsRepository, ids: Sequence[SessionId], count: int) -> dict[str, Any]:
    """Reads while Redis is stopped, beside reads of the database at the same time."""
    policy = CachePolicy(near_entries_max=0)  # A near copy would hide the freeze for a second.
    cache = cached(stored, stored, redis_url=servers.redis_url, key_prefix="freeze", policy=policy)
    await cache.open()
    for session_id in ids:
        await cache.get(session_id)

    async def call(number: int) -> tuple[str, str]:
        if number % 4 in (1, 2):  # Of every pair that falls due at one moment, one; by turns the first and the second.
            await stored.get(random.choice(ids))
            return "database", "postgres"
        answer = await cache.get(random.choice(ids), freshness=random.choice(list(Freshness)))
        assert answer is not None  # noqa: S101
        return "cache", answer.source

    load = Load(call, 2 * FREEZE_RATE_PER_S, at_once=2)
    windows: dict[str, list[tuple[float, float]]] = {"before": [], "until the breaker opens": [], "while it is open": []}
    for done in range(count):
        print(f"\rfreeze {done + 1} of {count}", end="", file=sys.stderr)
        await _in_step(cache, ids)
        running = asyncio.create_task(load.run(9.0))
        begin_s = time.monotonic()
        await asyncio.sleep(3.0)
        servers.signal_redis(signal.SIGSTOP)
        stopped_s = time.monotonic()
        opened_s = await _opened(cache)
        await running
        await load.land()
        for name, window in zip(windows, [(begin_s, stopped_s), (stopped_s, opened_s), (opened_s, time.monotonic())], strict=True):
            windows[name].append(window)
        servers.signal_redis(signal.SIGCONT)
    print(file=sys.stderr)
    await cache.aclose()
    found: dict[str, Any] = {"failures": load.failures, "deadline_ms": 1000 * policy.command_s}
    for name, times in windows.items():
        inside = [call for call in load.calls if any(begin <= call.at_s < end for begin, end in times)]
        ours, theirs = [call for call in inside if call.what == "cache"], [call for call in inside if call.what == "database"]
        found[name] = {
            "seconds": round(sum(end - begin for begin, end in times), 2),
            "reads": len(ours),
            "p50_ms": quantile_ms(ours, 0.5),
            "p99_ms": quantile_ms(ours, 0.99),
            "longest_ms": quantile_ms(ours, 1.0),
            "database_p50_ms": quantile_ms(theirs, 0.5),
            "database_p99_ms": quantile_ms(theirs, 0.99),
            "database_longest_ms": quantile_ms(theirs, 1.0),
        }
    return found


async def _opened(cache: RedisCachedSessionAnalyticsRepository) -> float:
    """When the breaker opened."""
    while cache._server.breaker_state is not BreakerState.OPEN:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(TICK_S)
    return time.monotonic()


async def _in_step(cache: RedisCachedSessionAnalyticsRepository, ids: Sequence[SessionId]) -> None:
    while True:
        answers = [await cache.get(session_id, freshness=Freshness.FRESH) for session_id in ids]
        if {answer.source for answer in answers if answer} == {"redis"}:
            return
        await asyncio.sleep(0.05)


async def outage(
    servers: Servers, stored: PostgresSessionAnalyticsRepository, ids: Sequence[SessionId], rate_per_s: float
) -> dict[str, Any]:
    """Reads and writes while Redis is killed and started again; the whole history is checked."""
    policy, history = CachePolicy(), History()
    truth = NotedTruth(stored, history, "A")
    cache = cached(truth, truth, redis_url=servers.redis_url, key_prefix="outage", policy=policy)
    await cache.open()
    witness = Witness(cache, history, "A")
    for number, session_id in enumerate(ids):
        await witness.write(session_id, number)

    async def call(number: int) -> tuple[str, str]:
        session_id = random.choice(ids)
        if number % (READS_PER_WRITE + 1) == 0:
            await witness.write(session_id, 1_000 + number)
            return "write", ""
        return "read", (await witness.read(session_id, random.choice(list(Freshness)))).source

    load = Load(call, rate_per_s)
    await load.run(1.0)  # Warm.
    load.calls.clear()
    running = asyncio.create_task(load.run(20.0))
    begin_s = time.monotonic()
    await asyncio.sleep(5.0)
    servers.signal_redis(signal.SIGKILL)
    killed_s = time.monotonic()
    print("Redis is gone", file=sys.stderr)
    await asyncio.sleep(5.0)
    await asyncio.to_thread(servers.start_redis)
    back_s = time.monotonic()
    print("Redis is back", file=sys.stderr)
    await running
    await load.land()
    end_s = time.monotonic()
    await cache.aclose()

    timeline = [_bucket(load.calls, at_s, begin_s) for at_s in _steps(begin_s, begin_s + 20.0)]
    before = [bucket for bucket in timeline if bucket["at_s"] + BUCKET_S <= killed_s - begin_s]
    usual = {name: statistics.median(bucket[name] for bucket in before) for name in ("hits_share", "calls_per_s")}
    after = [bucket for bucket in timeline if bucket["at_s"] >= back_s - begin_s - BUCKET_S]
    full = next((bucket for bucket in after if all(bucket[name] >= 0.9 * usual[name] for name in usual)), None)
    violations = history.violations(bound_s=policy.heartbeat_s, near_trust_s=policy.near_trust_s)
    made = {what: sum(call.what == what for call in load.calls) for what in ("read", "write")}
    return {
        "asked_per_s": rate_per_s,
        "reads": made["read"],
        "writes": made["write"],
        "achieved_per_s": round(len(load.calls) / (end_s - begin_s), 1),
        "exceptions": load.failures,
        "wrong_answers": len(violations),
        "gone_at_s": round(killed_s - begin_s, 2),
        "back_at_s": round(back_s - begin_s, 2),
        "hits_share_before": usual["hits_share"],
        "full_speed_after_s": None if full is None else round(max(0.0, full["at_s"] + BUCKET_S - (back_s - begin_s)), 2),
        "timeline": timeline,
    }


def _steps(begin_s: float, end_s: float) -> list[float]:
    return [begin_s + number * BUCKET_S for number in range(round((end_s - begin_s) / BUCKET_S))]


def _bucket(calls: Sequence[Call], at_s: float, begin_s: float) -> dict[str, Any]:
    inside = [call for call in calls if at_s <= call.at_s < at_s + BUCKET_S]
    reads, writes = [call for call in inside if call.what == "read"], [call for call in inside if call.what == "write"]
    return {
        "at_s": round(at_s - begin_s, 2),
        "calls_per_s": round(len(inside) / BUCKET_S, 1),
        "hits_share": round(sum(call.source in ("near", "redis") for call in reads) / max(1, len(reads)), 3),
        "read_p50_ms": quantile_ms(reads, 0.5),
        "read_p99_ms": quantile_ms(reads, 0.99),
        "write_p50_ms": quantile_ms(writes, 0.5),
        "write_p99_ms": quantile_ms(writes, 0.99),
    }


async def measure(servers: Servers, freeze_count: int, rate_per_s: float) -> dict[str, Any]:
    """Both."""
    engine = create_engine(servers.database_url, PostgresPolicy())
    await migrations.upgrade(engine)
    stored = PostgresSessionAnalyticsRepository(engine)
    ids = [new_id() for _ in range(SESSIONS)]
    for number, session_id in enumerate(ids):
        await stored.save(edition(session_id, number))
    try:
        return {
            "freeze": await freezes(servers, stored, ids, freeze_count),
            "outage": await outage(servers, stored, [new_id() for _ in range(SESSIONS)], rate_per_s),
        }
    finally:
        await engine.dispose()


def tell(found: dict[str, Any]) -> None:
    """The figures, for people."""
    freeze, out = found["freeze"], found["outage"]
    print(f"Freeze: {len(freeze['failures'])} exceptions")
    asked = {"before": "", "until the breaker opens": f"{freeze['deadline_ms']:g} ms at most", "while it is open": "1 ms at most"}
    for name, allowed in asked.items():
        of = freeze[name]
        print(
            f"  {name:24} {of['reads']:5} reads  p50 {of['p50_ms']:7.2f} (database {of['database_p50_ms']:5.2f}) ms  "
            f"p99 {of['p99_ms']:7.2f} (database {of['database_p99_ms']:6.2f}: {of['p99_ms'] - of['database_p99_ms']:+7.2f}) ms"
            + f"   (asked: {allowed})"
            * bool(allowed)
        )
    print(
        f"Outage: {out['reads']} reads and {out['writes']} writes, {out['achieved_per_s']:g} a second (asked for {out['asked_per_s']:g}); "
        f"{len(out['exceptions'])} exceptions, {out['wrong_answers']} wrong answers; "
        f"full speed {out['full_speed_after_s']} s after the return (asked: 5 at most)"
    )
    for bucket in out["timeline"][::5]:
        print(
            f"  {bucket['at_s']:5.1f} s  {bucket['calls_per_s']:6.0f} calls/s  hits {bucket['hits_share']:4.0%}  "
            f"reads p50 {bucket['read_p50_ms']:7.2f} p99 {bucket['read_p99_ms']:7.2f} ms  writes p50 {bucket['write_p50_ms'] or 0:7.2f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--freezes", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1_000.0, help="reads and writes a second during the outage (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print everything, with the latencies over time")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # What is measured goes to stdout.
    with tempfile.TemporaryDirectory(prefix="emg-bench-") as folder:
        servers = Servers(Path(folder))
        try:
            found = asyncio.run(measure(servers, options.freezes, options.rate))
        finally:
            servers.close()
    print(json.dumps(found)) if options.json else tell(found)


if __name__ == "__main__":
    main()
