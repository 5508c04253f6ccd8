"""Where real readers, writers and relays stand still before each exchange with a real Redis or PostgreSQL, until they are told to go on.

Between two exchanges an actor touches nothing that others see, so an order of exchanges is all there is to an interleaving. Exchanges with
Redis are held by a proxy, those with PostgreSQL by the repository around it; the code under test knows of neither. The loop's clock is the
stage's too: no deadline runs out because a machine is slow, and who polls does so at every step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from domain.analytics import SessionAnalytics
from domain.ports import (
    AnalyticsAnswer,
    Changes,
    DeleteReceipt,
    DocumentAnswer,
    Freshness,
    SaveReceipt,
)
from domain.session import SessionId
from tests.faults.history import History
from tests.faults.witness import NotedTruth
from tests.interleavings.explorer import Schedule
from tests.proxies import Proxy, redis_commands

T = TypeVar("T")

STEP_S: Final = 0.005
# So many turns of the loop without a sign of anybody: they all stand at a gate, or wait for somebody who does.
_QUIET_TURNS: Final = 12
_STEPS_MAX: Final = 500
_HELD: Final = {"MGET", "EVALSHA", "EVAL", "GET", "SET"}


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be made to stand still, and moved by hand."""

    _now_s: float | None = None
    _behind_s: float = 0.0

    def time(self) -> float:
        return super().time() - self._behind_s if self._now_s is None else self._now_s

    def stand(self) -> None:
        """From here on only `step` moves the clock."""
        self._now_s = self.time()

    def step(self, seconds: float) -> None:
        """Moves it."""
        self._now_s = self.time() + seconds

    def go(self) -> None:
        """It goes by itself again, from where it stands."""
        now_s, self._now_s = self.time(), None
        self._behind_s = super().time() - now_s


@dataclass
class Gate:
    """Somebody who stands before an exchange."""

    who: str
    what: str
    opened: asyncio.Future[None]


@dataclass
class Stage:
    """All gates, and who may begin."""

    both_ways: frozenset[str] = frozenset()
    """Who stands before an answer, too: whoever shares a process with others touches what they see."""
    holding: bool = False
    gates: list[Gate] = field(default_factory=list)
    signs: int = 0
    under_way: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)

    async def exchange(self, who: str, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Does it when it is told to."""
        await self.gate(who, what)
        return await self.at_once(work)

    async def query(self, who: str, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """An exchange with the database."""
        answer = await self.exchange(who, what, work)
        if who in self.both_ways:
            await self.gate(who, "hears the database")
        return answer

    async def at_once(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does it; nobody moves meanwhile."""
        self.under_way += 1
        self.done.clear()
        try:
            return await work()
        finally:
            self.under_way -= 1
            self.signs += 1
            if not self.under_way:  # Of two at once, the last.
                self.done.set()

    async def gate(self, who: str, what: str) -> None:
        """Stands until it is told to go on."""
        if not self.holding:
            return
        gate = Gate(who, what, asyncio.get_running_loop().create_future())
        self.gates.append(gate)
        self.signs += 1
        try:
            await gate.opened
        finally:
            if gate in self.gates:
                self.gates.remove(gate)

    def cancel(self, who: str) -> None:
        """Cancels an actor, if it has begun."""
        if who in self.tasks and self.tasks[who].cancel():
            self.cancelled.add(who)

    async def perform(self, actors: dict[str, Callable[[], Coroutine[Any, Any, None]]], schedule: Schedule) -> None:
        """Lets the actors begin and go on in the schedule's order, until all have ended. What any of them raises is raised.

        An actor's name begins with its process's.
        """
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        waiting = dict(actors)
        self.tasks.clear()
        self.cancelled.clear()
        self.holding = True
        loop.stand()
        try:
            for _ in range(_STEPS_MAX):
                loop.step(STEP_S)
                options = sorted([(gate.who, gate.what) for gate in self.gates] + [(name, "begins") for name in waiting])
                if options:
                    who, what = options[schedule.choose(options)]
                    if what == "begins":
                        # One step with the first exchange: nothing is later than a beginning that others may come after.
                        standing = list(self.gates)
                        self.tasks[who] = asyncio.create_task(waiting.pop(who)(), name=who)
                        await self._settle()
                        for gate in [gate for gate in self.gates if gate not in standing and who.startswith(gate.who)][:1]:
                            self._open(gate)
                    else:
                        self._open(next(gate for gate in self.gates if (gate.who, gate.what) == (who, what)))
                elif all(task.done() for task in self.tasks.values()):
                    break
                await self._settle()
            else:
                raise AssertionError(f"no end after {_STEPS_MAX} steps; at the gates: {self.gates}")
        finally:
            self.holding = False
            loop.go()
            for gate in list(self.gates):
                self._open(gate)
            await self._settle()
            for task in self.tasks.values():
                task.cancel()
            results = await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        for who, result in zip(self.tasks, results, strict=True):
            if isinstance(result, BaseException) and who not in self.cancelled:
                raise result

    def _open(self, gate: Gate) -> None:
        self.gates.remove(gate)
        gate.opened.set_result(None)

    async def _settle(self) -> None:
        quiet, signs = 0, self.signs
        while quiet < _QUIET_TURNS:
            while self.under_way:
                await self.done.wait()
            await asyncio.sleep(0)
            quiet = 0 if self.signs != signs else quiet + 1
            signs = self.signs


class HeldRedis(Proxy):
    """The way of one process to Redis. A command that was sent arrives one day, also if its sender no longer waits."""

    stage: Stage
    who: str

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._tasks.add(task)
        host, port, path = self._address
        back: asyncio.Task[None] | None = None
        answers = asyncio.Event()
        ends = [writer]
        try:
            if path is not None:
                other_reader, other_writer = await asyncio.open_unix_connection(path)
            else:
                other_reader, other_writer = await asyncio.open_connection(host, port)
            ends.append(other_writer)
            answers.set()
            back = asyncio.create_task(self._bring_back(other_reader, writer, answers))
            while piece := await reader.read(1 << 20):
                commands = redis_commands([piece])
                answers.clear()

                async def deliver(piece: bytes = piece, to: asyncio.StreamWriter = other_writer) -> None:
                    to.write(piece)
                    await answers.wait()

                if _HELD.intersection(commands):
                    await self.stage.exchange(self.who, _told(piece, commands), deliver)
                else:
                    await self.stage.at_once(deliver)
        except (asyncio.CancelledError, OSError):
            pass  # The end of the proxy, which waits for us.
        finally:
            if back is not None:
                back.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([back])
            for end in ends:
                end.close()
            self._tasks.discard(task)

    async def _bring_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: asyncio.Event) -> None:
        came: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                piece, is_held = await came.get()
                if is_held:
                    await self.stage.gate(self.who, f"hears {_told_answer(piece)}")
                if not writer.transport.is_closing():
                    writer.write(piece)

        delivering = asyncio.create_task(deliver())
        try:
            while piece := await reader.read(1 << 20):
                came.put_nowait((piece, self.stage.holding and self.who in self.stage.both_ways))
                answers.set()
        except OSError:
            pass
        finally:
            answers.set()
            delivering.cancel()
            await asyncio.wait([delivering])


_SCRIPTS: dict[bytes, str] = {}


def name_script(sha: str, name: str) -> None:
    """What is told of an EVALSHA."""
    _SCRIPTS[sha.encode()] = name


def _told(piece: bytes, commands: list[str]) -> str:
    script = next((name for sha, name in _SCRIPTS.items() if sha in piece), "")
    return f"sends {' '.join(commands)} {script}".rstrip()


def _told_answer(piece: bytes) -> str:
    return piece[:24].decode("ascii", "replace").replace("\r\n", " ")


class HeldTruth(NotedTruth):
    """The way of one process to PostgreSQL."""

    def __init__(self, inner: PostgresSessionAnalyticsRepository, history: History, by: str, stage: Stage) -> None:
        super().__init__(inner, history, by)
        self._stage = stage

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        return await self._stage.query(self._by, "reads the database", lambda: super(HeldTruth, self).get(session_id))

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        return await self._stage.query(self._by, "reads the database", lambda: super(HeldTruth, self).get_many(session_ids))

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        return await self._stage.query(self._by, "reads the database", lambda: super(HeldTruth, self).get_document(session_id))

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        return await self._stage.query(self._by, "commits", lambda: super(HeldTruth, self).save(analytics))

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        return await self._stage.query(self._by, "commits", lambda: super(HeldTruth, self).delete(session_id))

    async def changes_since(self, position: int | None) -> Changes:
        return await self._stage.query(self._by, "reads the change log", lambda: super(HeldTruth, self).changes_since(position))
