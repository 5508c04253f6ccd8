"""How old what is read is while others write, and what stays old when they have stopped.

One process reads and another writes; each has its own copies and connections. Half of the sessions are written through the cache, as it is
meant to be used; the other half past it, as with psql or by a program that knows of no cache.

Then the race of those who fill with those who overwrite: a session that nobody has read lately is read twice and written once within a few
milliseconds, while the database's answers to readers are held up for a few more, as on a busy network. A reader who loaded before the
write and fills after it leaves what was overwritten in the cache. When the bound has passed, sessions that are still answered with it are
counted.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import Final

import redis.asyncio as redis

from adapters.entrypoints.bench.documents import session_id_of, small
from adapters.entrypoints.bench.figures import Asked, Findings, Row, Spread, Table
from adapters.entrypoints.bench.open_loop import OpenLoop
from adapters.entrypoints.bench.peers.ours import Ours, OursFresh
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.under_load import AiocacheAside, AiocacheBriefly, CashewsAside, RedisPyAside
from adapters.entrypoints.bench.stage import Stage
from adapters.entrypoints.bench.timeline import quantile
from adapters.entrypoints.bench.witness import Witness, all_or_first_failure, open_witnesses, quiet
from domain.errors import StorageError

PEERS: Final[tuple[type[Peer], ...]] = (Ours, OursFresh, RedisPyAside, CashewsAside, AiocacheAside, AiocacheBriefly)
SESSIONS: Final = 64
RACE_S: Final = 0.02
LATE_S: Final = 0.02
_GROUP: Final = "How old what is read is, while others write"
_FIRST: Final = 200_000
_RACES_AT_ONCE: Final = 8
_SLACK_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Plan:
    """Reads and writes a second of each way and for how long; how many sessions are raced for; whether all ways at once."""

    reads_per_s: float
    writes_per_s: float
    seconds: float
    races: int
    repetitions: int
    together: bool


FULL: Final = Plan(500.0, 50.0, 6.0, 500, repetitions=2, together=False)
QUICK: Final = Plan(60.0, 15.0, 3.0, 100, repetitions=1, together=True)


@dataclass(frozen=True, slots=True)
class Run:
    """Ages of what was read of sessions that were written through the cache, and past it, in s; and how many sessions stayed old."""

    told_s: Sequence[float]
    past_s: Sequence[float]
    broken: int
    hits_share: float
    stayed_old: int
    lost_races: int


async def staleness(stage: Stage) -> Findings:
    """Ages, and what is never mended, by who answers."""
    plan = FULL if stage.pace.thorough else QUICK
    return findings(await runs_of(PEERS, plan, stage.with_prefix("stale")), plan)


async def runs_of(kinds: Sequence[type[Peer]], plan: Plan, stage: Stage) -> dict[str, list[Run]]:
    """By way, its runs."""
    found: dict[str, list[Run]] = {kind.name: [] for kind in kinds}
    groups = [kinds] if plan.together else [[kind] for kind in kinds]
    steps = plan.repetitions * len(groups)
    with quiet():
        for step in range(steps):
            stage.progress.at(step / steps, f"run {step + 1} of {steps}")
            group = groups[step % len(groups)]
            async with all_or_first_failure() as tasks:
                runs = {kind.name: tasks.create_task(_run(kind, place, step, plan, stage)) for place, kind in enumerate(group)}
            for name, run in runs.items():
                found[name].append(run.result())
    return found


async def _run(kind: type[Peer], place_of: int, step: int, plan: Plan, stage: Stage) -> Run:
    first = _FIRST + (step * len(PEERS) + place_of) * (SESSIONS + plan.races)
    numbers, raced = range(first, first + SESSIONS), range(first + SESSIONS, first + SESSIONS + plan.races)
    told, past = numbers[: SESSIONS // 2], numbers[SESSIONS // 2 :]
    place = replace(stage.place, key_prefix=f"{stage.place.key_prefix}_{step}_{place_of}")
    async with AsyncExitStack() as closing:
        reader, writer = await closing.enter_async_context(
            open_witnesses(kind, place, small(stage.documents.recorded), [*numbers, *raced], count=2)
        )
        for number in numbers:  # Warm.
            await reader.read(number)
        reader.ledger.seen.clear()
        sources = await _loaded(reader, writer, told, past, plan)
        ages_s = reader.ledger.ages_s()
        of_past = set(map(session_id_of, past))
        broken = len(reader.ledger.broken())
        pairs = list(zip(reader.ledger.seen, ages_s, strict=True))
        reader.repository.late_s = LATE_S
        await _race(reader, writer, raced)
        reader.repository.late_s = 0.0
        await asyncio.sleep(Ours.policy.heartbeat_s + Ours.policy.near_trust_s + _SLACK_S)
        stayed_old = await _outdated(reader, told)
        lost_races = await _outdated(reader, raced)
    return Run(
        told_s=[age_s for read, age_s in pairs if read.key not in of_past],
        past_s=[age_s for read, age_s in pairs if read.key in of_past],
        broken=broken,
        hits_share=sum(source != "postgres" for source in sources) / max(1, len(sources)),
        stayed_old=stayed_old,
        lost_races=lost_races,
    )


async def _loaded(reader: Witness, writer: Witness, told: Sequence[int], past: Sequence[int], plan: Plan) -> list[str]:
    """Reads and writes at steady rates; who answered."""
    dice = random.Random(1)

    async def read(_: int) -> str:
        return await reader.read(dice.choice([*told, *past]))

    async def write(number: int) -> str:
        await (writer.write(dice.choice(told)) if number % 2 else writer.write_past(dice.choice(past)))
        return ""

    begin_s = time.monotonic()
    loops = (OpenLoop(read, lambda _: "read", plan.reads_per_s), OpenLoop(write, lambda _: "write", plan.writes_per_s))
    for loop in loops:
        loop.stop_at(begin_s + plan.seconds)
    await asyncio.gather(*(loop.run(begin_s) for loop in loops))
    return [call.source for call in loops[0].calls if not call.error]


async def _race(reader: Witness, writer: Witness, numbers: Sequence[int]) -> None:
    """For each session: two reads and a write, each at some moment of a short while. What fails is lost, as it would be."""
    dice, places = random.Random(2), asyncio.Semaphore(_RACES_AT_ONCE)

    async def soon(what: Callable[[int], Awaitable[object]], number: int) -> None:
        await asyncio.sleep(dice.uniform(0, RACE_S))
        with suppress(StorageError, OSError, TimeoutError, redis.RedisError):
            await what(number)

    async def one(number: int) -> None:
        async with places:
            await asyncio.gather(soon(reader.read, number), soon(reader.read, number), soon(writer.write, number))

    await asyncio.gather(*(one(number) for number in numbers))


async def _outdated(reader: Witness, numbers: Sequence[int]) -> int:
    return sum([await reader.is_outdated(number) for number in numbers])


def findings(runs: dict[str, list[Run]], plan: Plan) -> Findings:
    """What the runs show."""

    def column(name: str, title: str, unit: str, of: Callable[[Run], float], notes: Sequence[str] = ()) -> Table:
        rows = tuple(Row(way, Spread.of([of(run) for run in each])) for way, each in runs.items())
        return Table(f"staleness_{name}", title, unit, less_is_better=True, reference=None, rows=rows, notes=tuple(notes), group=_GROUP)

    def told_ms(share: float) -> Callable[[Run], float]:
        return lambda run: 1000 * (quantile(run.told_s, share) or 0.0)

    def past_ms(share: float) -> Callable[[Run], float]:
        return lambda run: 1000 * (quantile(run.past_s, share) or 0.0)

    def most_s(run: Run) -> float:
        return max(*run.told_s, *run.past_s)

    bound_s, fresh_bound_s = Ours.policy.heartbeat_s + Ours.policy.near_trust_s, Ours.policy.heartbeat_s
    hits = ", ".join(f"{way} {Spread.of([run.hits_share for run in each]).median:.0%}" for way, each in runs.items())
    notes = (
        f"{plan.reads_per_s:g} reads and {plan.writes_per_s:g} writes a second of each way to {SESSIONS} sessions for {plan.seconds:g} s,"
        f" by two users with copies and connections of their own{'; all ways at once' if plan.together else ''}."
        f" Answered by a cache: {hits}.",
        "Past the cache: by somebody who knows of none, as in psql. Who is never told is as old as the run is long, or the TTL.",
        f"Races lost: of {plan.races} sessions, each read twice and written once within {1000 * RACE_S:g} ms, the database's answers"
        f" to readers held up for up to {1000 * LATE_S:g} ms, those still answered with what had been overwritten {bound_s:g} s after.",
    )
    ours, fresh = runs[Ours.name], runs[OursFresh.name]
    return Findings(
        tables=(
            column("told_p50", "written through the cache: age p50", "ms", told_ms(0.5)),
            column("told_p99", "p99", "ms", told_ms(0.99)),
            column("told_max", "most", "ms", told_ms(1.0)),
            column("past_p50", "written past the cache: age p50", "ms", past_ms(0.5)),
            column("past_p99", "p99", "ms", past_ms(0.99)),
            column("past_max", "most", "ms", past_ms(1.0)),
            column("stayed_old", "still outdated after the end", "sessions", lambda run: run.stayed_old),
            column("lost_races", "races lost", "sessions", lambda run: run.lost_races, notes),
        ),
        asked=(
            Asked.at_most("age of what is read while others write", bound_s, [max(map(most_s, ours))], "s"),
            Asked.at_most("age of what is read FRESH while others write past the cache", fresh_bound_s, [max(map(most_s, fresh))], "s"),
            Asked.at_most("FRESH reads that missed an acknowledged write", 0, [sum(run.broken for run in fresh)], "reads"),
            Asked.at_most("sessions that stay outdated", 0, [sum(run.stayed_old + run.lost_races for run in (*ours, *fresh))], "sessions"),
        ),
        peers=tuple(kind.configured() for kind in PEERS),
    )
