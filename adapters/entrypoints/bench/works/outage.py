"""What callers feel of a Redis that freezes, and of one that is killed and started again, empty: at a steady load of reads and writes.

Each way has the load to itself, on a Redis that belongs to the run, and beside it the database is read past all caches, so that its own
latency is of the same moments. Of ten calls one is a write. At the quick pace all ways share the time, each at a lower rate.

What is asked is a difference of two p99s, which says little where something else disturbs the machine for a minute. So the way that is held
to it has its turn after each of the others, and what is reported is the median of all its runs.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

from adapters.entrypoints.bench.documents import small
from adapters.entrypoints.bench.figures import Asked, Curves, Findings, Line, Row, Spread, Table
from adapters.entrypoints.bench.ledger import Ledger
from adapters.entrypoints.bench.method import garbage_frozen
from adapters.entrypoints.bench.open_loop import Call, OpenLoop
from adapters.entrypoints.bench.peers.ours import Ours, OursFar
from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.peers.under_load import DEADLINE_S, AiocacheAside, CashewsAside, NoCache, RedisPyAside
from adapters.entrypoints.bench.servers import OwnServers, Place
from adapters.entrypoints.bench.stage import Stage
from adapters.entrypoints.bench.timeline import Bucket, buckets, full_speed_after_s, quantile_ms
from adapters.entrypoints.bench.witness import Witness, all_or_first_failure, open_witnesses, quiet

PEERS: Final[tuple[type[Peer], ...]] = (Ours, OursFar, RedisPyAside, CashewsAside, AiocacheAside)
SESSIONS: Final = 64
BUCKET_S: Final = 0.2
_FIRST: Final = 100_000
_CLOCKS_S: Final = 0.02  # Redis counts milliseconds, and its clock may be slewed.
_WRITE_EVERY: Final = 10
_GROUP: Final = "Redis frozen, then gone and back"
_POLL_S: Final = 0.002
_BETWEEN_S: Final = 0.0005  # Half of what lies between two calls at the full pace: who calls at the same moment waits for the other.
_OPENS_S_MAX: Final = 2.0
_FIRST_S: Final = 2 * DEADLINE_S
"""The first window of ways that have no breaker."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Calls a second of each way and of the database, how long each part lasts, how often all of it is done, and whether at once."""

    rate_per_s: float
    database_rate_per_s: float
    calm_s: float
    frozen_s: float
    between_s: float
    gone_s: float
    after_s: float
    repetitions: int
    together: bool


FULL: Final = Plan(1000.0, 200.0, 3.0, 3.0, 3.0, 4.0, 6.0, repetitions=3, together=False)
QUICK: Final = Plan(50.0, 50.0, 1.2, 1.6, 1.6, 1.4, 2.4, repetitions=1, together=True)


@dataclass(frozen=True, slots=True)
class Moments:
    """When what happened to Redis, and when the breaker of ours was open (None: it has none)."""

    begin_s: float
    frozen_s: float
    opened_s: float | None
    resumed_s: float
    killed_s: float
    back_s: float
    end_s: float

    def first_window(self) -> tuple[float, float]:
        """From the freeze until the breaker is open, which takes a deadline at least."""
        return self.frozen_s, max(self.opened_s or self.frozen_s + _FIRST_S, self.frozen_s + DEADLINE_S)

    def later_window(self) -> tuple[float, float]:
        """From then until Redis goes on."""
        return self.first_window()[1], self.resumed_s


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one way in one run; `database` are the reads past all caches at the same time."""

    calls: Sequence[Call]
    database: Sequence[Call]
    ledger: Ledger
    moments: Moments

    def timeline(self) -> list[Bucket]:
        """The whole run in buckets."""
        return buckets(self.calls, self.moments.begin_s, self.moments.end_s, BUCKET_S)

    def p99_ms(self, window: tuple[float, float]) -> float:
        """Of the reads that fell due in a window."""
        return quantile_ms(_reads(self.calls, window), 0.99) or 0.0

    def added_ms(self, window: tuple[float, float]) -> float:
        """By how much that is longer than the database's own in the same window."""
        return self.p99_ms(window) - (quantile_ms(_reads(self.database, window), 0.99) or 0.0)

    def full_speed_s(self, back_s: float, until_s: float) -> float:
        """How long after `back_s` all was as before; all the time until `until_s` if it was not by then."""
        begin_s = self.moments.begin_s
        seen = [bucket for bucket in self.timeline() if bucket.at_s < until_s - begin_s]
        found = full_speed_after_s(seen, usual_until_s=self.moments.frozen_s - begin_s, back_s=back_s - begin_s)
        return until_s - back_s if found is None else found

    def error_names(self) -> Counter[str]:
        """What it was."""
        return Counter(f"{call.what}: {call.error}" for call in self.calls if call.error)

    def errors(self) -> int:
        """What reached a caller."""
        return sum(bool(call.error) for call in self.calls)

    def wrong(self) -> int:
        """Answers older than our cache's bound, and FRESH ones that did not show what was acknowledged."""
        fresh_s = Ours.policy.heartbeat_s + _CLOCKS_S
        pairs = zip(self.ledger.seen, self.ledger.ages_s(), strict=True)
        too_old = {place for place, (read, age_s) in enumerate(pairs) if age_s > fresh_s + (0 if read.fresh else Ours.policy.near_trust_s)}
        broken = set(map(id, self.ledger.broken()))
        return sum(place in too_old or id(read) in broken for place, read in enumerate(self.ledger.seen))


def _reads(calls: Sequence[Call], window: tuple[float, float]) -> list[Call]:
    return [call for call in calls if call.what == "read" and window[0] <= call.due_s < window[1]]


async def outage(stage: Stage) -> Findings:
    """Latency, errors and wrong answers, by who answers."""
    plan = FULL if stage.pace.thorough else QUICK
    return findings(await runs_of(PEERS, plan, stage), plan)


async def runs_of(kinds: Sequence[type[Peer]], plan: Plan, stage: Stage) -> dict[str, list[Run]]:
    """By way, its runs. Redis is one of their own: it is frozen and killed."""
    own = OwnServers()
    found: dict[str, list[Run]] = {kind.name: [] for kind in kinds}
    groups = [kinds] if plan.together else [[kind] for kind in turns(kinds)]
    steps = plan.repetitions * len(groups)
    try:
        place = Place(stage.place.database_url, await own.open_redis(), f"{stage.place.key_prefix}_outage", own, {})
        with quiet():
            for step in range(steps):
                group = groups[step % len(groups)]
                stage.progress.at(step / steps, f"run {step + 1} of {steps}")
                # Keys of its own: what an earlier run has left in Redis is outdated, and would be dropped while this one begins.
                keys = replace(place, key_prefix=f"{place.key_prefix}_{step}")
                for name, run in (await _run(group, plan, keys, own, stage)).items():
                    found[name].append(run)
    finally:
        await own.aclose()
    return found


def turns(kinds: Sequence[type[Peer]]) -> list[type[Peer]]:
    """Each way once, and the one that is held to what is asked, if it is among them, after each of the others."""
    others = [kind for kind in kinds if kind is not OursFar]
    if OursFar not in kinds or not others:
        return list(kinds)
    return [kind for other in others for kind in (other, OursFar)]


@dataclass
class _Driven:
    witness: Witness
    numbers: Sequence[int]
    loop: OpenLoop = field(init=False)

    def start(self, rate_per_s: float, begin_s: float) -> Coroutine[Any, Any, None]:
        """The load, until it is stopped and its last call has ended."""
        dice = random.Random(len(self.numbers))

        async def call(number: int) -> str:
            session = dice.choice(self.numbers)
            if what(number) == "write":
                await self.witness.write(session)
                return ""
            return await self.witness.read(session, fresh=bool(dice.getrandbits(1)))

        def what(number: int) -> str:
            return "write" if number % _WRITE_EVERY == 0 and not isinstance(self.witness.peer, NoCache) else "read"

        self.loop = OpenLoop(call, what, rate_per_s)
        return self.loop.run(begin_s)


async def _run(kinds: Sequence[type[Peer]], plan: Plan, place: Place, own: OwnServers, stage: Stage) -> dict[str, Run]:
    analytics = small(stage.documents.recorded)
    async with AsyncExitStack() as closing:
        # A full pass of the garbage collector stops the loop for 0.1 s, and would be the p99 of whoever it happens to.
        closing.enter_context(garbage_frozen())
        driven = {}
        everybody: Sequence[type[Peer]] = (*kinds, NoCache)
        for place_of, kind in enumerate(everybody):
            numbers = range(_FIRST + place_of * SESSIONS, _FIRST + (place_of + 1) * SESSIONS)
            keys = replace(place, key_prefix=f"{place.key_prefix}_{place_of}")
            (witness,) = await closing.enter_async_context(open_witnesses(kind, keys, analytics, numbers, count=1))
            driven[kind.name] = _Driven(witness, numbers)
            for number in numbers:  # Warm.
                await witness.read(number)
        redis_pid = await asyncio.to_thread(own.redis_pid)  # Before there is a load, which the search would slow down.
        begin_s = time.monotonic()
        breakers = {name: each.witness.peer for name, each in driven.items() if isinstance(each.witness.peer, Ours)}
        async with all_or_first_failure() as group:
            for name, each in driven.items():
                if name == NoCache.name:
                    group.create_task(each.start(plan.database_rate_per_s, begin_s + _BETWEEN_S))
                else:
                    group.create_task(each.start(plan.rate_per_s, begin_s))
            happened = await _hurt(own, redis_pid, plan, begin_s, breakers)
            for each in driven.values():
                each.loop.stop_at(happened("").end_s)
    database = driven.pop(NoCache.name).loop.calls
    return {name: Run(each.loop.calls, database, each.witness.ledger, happened(name)) for name, each in driven.items()}


async def _hurt(own: OwnServers, redis_pid: int | None, plan: Plan, begin_s: float, breakers: dict[str, Ours]) -> Callable[[str], Moments]:
    """Does to Redis what the plan says; when that was, by way."""
    opened: dict[str, float] = {}
    await _until(begin_s + plan.calm_s)
    before = {name: _openings(peer) for name, peer in breakers.items()}
    own.signal_redis(signal.SIGSTOP, redis_pid)
    frozen_s = time.monotonic()
    while len(opened) < len(breakers) and time.monotonic() < frozen_s + min(_OPENS_S_MAX, plan.frozen_s):
        opened |= {name: time.monotonic() for name, peer in breakers.items() if name not in opened and _openings(peer) > before[name]}
        await asyncio.sleep(_POLL_S)
    await _until(frozen_s + plan.frozen_s)
    own.signal_redis(signal.SIGCONT, redis_pid)
    resumed_s = time.monotonic()
    await _until(resumed_s + plan.between_s)
    own.signal_redis(signal.SIGKILL, redis_pid)
    killed_s = time.monotonic()
    await _until(killed_s + plan.gone_s)
    await own.open_redis()
    back_s = time.monotonic()
    await _until(back_s + plan.after_s)
    end_s = time.monotonic()
    return lambda name: Moments(begin_s, frozen_s, opened.get(name), resumed_s, killed_s, back_s, end_s)


def _openings(peer: Ours) -> int:
    return peer.repository.stats.snapshot().counters.get("breaker_opened", 0)


async def _until(moment_s: float) -> None:
    await asyncio.sleep(max(0.0, moment_s - time.monotonic()))


def findings(runs: dict[str, list[Run]], plan: Plan) -> Findings:
    """What the runs show."""

    def column(name: str, title: str, unit: str, of: Callable[[Run], float], notes: Sequence[str] = ()) -> Table:
        rows = tuple(Row(way, Spread.of([of(run) for run in each])) for way, each in runs.items())
        return Table(f"outage_{name}", title, unit, less_is_better=True, reference=None, rows=rows, notes=tuple(notes), group=_GROUP)

    def calm(run: Run) -> tuple[float, float]:
        return run.moments.begin_s, run.moments.frozen_s

    def gone(run: Run) -> tuple[float, float]:
        return run.moments.killed_s, run.moments.back_s

    def resumed_s(run: Run) -> float:
        return run.full_speed_s(run.moments.resumed_s, run.moments.killed_s)

    def back_s(run: Run) -> float:
        return run.full_speed_s(run.moments.back_s, run.moments.end_s)

    policy = Ours.policy
    notes = (
        f"{plan.rate_per_s:g} calls a second of each way, a tenth of them writes, to {SESSIONS} sessions of one channel"
        f"{'; all ways at once' if plan.together else ''}. Calls fall due whatever becomes of those before, and latency counts from then.",
        f"Redis is frozen (SIGSTOP) for {plan.frozen_s:g} s, goes on, is killed {plan.between_s:g} s later, and {plan.gone_s:g} s after"
        f" that started again, empty. At first: until the breaker of ours is open; for others, {_FIRST_S:g} s.",
        "Full speed: nine tenths of the usual throughput and share of hits; the time that was watched where it was not reached.",
        f"Too old: older than {policy.heartbeat_s + policy.near_trust_s:g} s, which is what ours promises at most ({policy.heartbeat_s:g} s"
        " where FRESH is asked for), or, asked for FRESH, not showing a write that was acknowledged.",
        *_raised(runs),
    )
    far, ours = runs[OursFar.name], [*runs[OursFar.name], *runs[Ours.name]]
    return Findings(
        tables=(
            column("calm_p99", "reads p99: before", "ms", lambda run: run.p99_ms(calm(run))),
            column("frozen_first_p99", "frozen, at first", "ms", lambda run: run.p99_ms(run.moments.first_window())),
            column("frozen_later_p99", "frozen, then", "ms", lambda run: run.p99_ms(run.moments.later_window())),
            column("gone_p99", "gone", "ms", lambda run: run.p99_ms(gone(run))),
            column("resumed_s", "full speed after it goes on", "s", resumed_s),
            column("back_s", "full speed after it is back", "s", back_s),
            column("errors", "raised to callers", "calls", lambda run: run.errors()),
            column("wrong", "too old", "answers", lambda run: run.wrong(), notes),
        ),
        curves=_curves(runs),
        asked=(
            Asked.at_most(
                "Redis frozen, until the breaker is open: p99 of reads beyond the database's own",
                1000 * policy.command_s,
                [run.added_ms(run.moments.first_window()) for run in far],
                "ms",
            ),
            Asked.at_most(
                "Redis frozen, breaker open: p99 of reads beyond the database's own",
                1,
                [run.added_ms(run.moments.later_window()) for run in far],
                "ms",
            ),
            # Of all runs together: one would be too many.
            Asked.at_most("Redis frozen, gone and back: errors that reach callers", 0, [sum(run.errors() for run in ours)], "calls"),
            Asked.at_most("Redis frozen, gone and back: answers that are too old", 0, [sum(run.wrong() for run in ours)], "answers"),
            Asked.at_most("full speed after Redis is back", 5, [back_s(run) for run in ours], "s"),
        ),
        peers=(*(kind.configured() for kind in PEERS), NoCache.configured()),
    )


def _raised(runs: dict[str, list[Run]]) -> list[str]:
    notes = []
    for way, each in runs.items():
        names = sum((run.error_names() for run in each), Counter[str]())
        if names:
            notes.append(f"{way}: " + ", ".join(f"{count} times {name}" for name, count in names.most_common()) + ".")
    return notes


def _curves(runs: dict[str, list[Run]]) -> tuple[Curves, ...]:
    """Of the first run of each way. All began at the same distances from what happened, as near as a picture shows."""
    first = {way: each[0] for way, each in runs.items()}
    moments = next(iter(first.values())).moments
    events = {"frozen": moments.frozen_s, "goes on": moments.resumed_s, "killed": moments.killed_s, "back, empty": moments.back_s}
    bound_s = Ours.policy.heartbeat_s + Ours.policy.near_trust_s
    bound = Line(f"the most that {Ours.name} promises", (0.0, moments.end_s - moments.begin_s), (bound_s, bound_s))
    marks = tuple((at_s - moments.begin_s, what) for what, at_s in events.items())

    def curves(name: str, title: str, y_label: str, of: Callable[[Run], Sequence[float | None]], *more: Line) -> Curves:
        lines = []
        for way, run in first.items():
            y = tuple(of(run))
            lines.append(Line(way, tuple(number * BUCKET_S for number in range(len(y))), y))
        return Curves(name, title, "seconds", y_label, (*lines, *more), marks)

    return (
        curves("outage_latency", "Reads over an outage of Redis", "p99 of reads, ms", lambda run: [each.p99_ms for each in run.timeline()]),
        curves(
            "outage_answered", "Throughput over an outage of Redis", "calls/s", lambda run: [each.answered_per_s for each in run.timeline()]
        ),
        curves("outage_age", "Staleness over an outage of Redis", "age of the oldest answer, s", _oldest_s, bound),
    )


def _oldest_s(run: Run) -> list[float]:
    count = len(run.timeline())
    oldest = [0.0] * count
    for read, age_s in zip(run.ledger.seen, run.ledger.ages_s(), strict=True):
        place = int((read.began_s - run.moments.begin_s) // BUCKET_S)
        if 0 <= place < count:
            oldest[place] = max(oldest[place], age_s)
    return oldest
