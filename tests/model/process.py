"""One process over the protocol: its concurrent reads share a load, and it keeps a decoded copy of its own, the near copy.

The shared load. Who misses joins the load that is under way. A joiner may take the result only if the fill was accepted: then no write was
acknowledged between the load and the fill. It must have joined before the fill was *sent*: an answer on its way back says nothing of a
write acknowledged meanwhile. And the load must be young: a failover may bring back the lease it was begun under, and the fill of a load
that stood still since before T would be accepted.

The near copy. A read that may be `bounded` takes it without asking while it is trusted: `near_trust` ticks from when the request that
brought or confirmed it was *sent*. Any other read asks Redis for the entry's header and the heartbeat, and takes the copy if the entry may
be believed and has the same version. A write of this process drops the copy when its receipt is there, and keeps requests sent before
from bringing it back.

Promised besides the protocol's: a copy is at most `near_trust` older than T, and shows the writes whose receipts this process has.

The relay's pass is one step here and other processes load and fill in one step: protocol.py takes those apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from tests.model import scripts
from tests.model.epochs import live_epochs, new_epoch, renamed
from tests.model.explorer import Step
from tests.model.protocol import BOUNDED, FRESH
from tests.model.rules import PROTOCOL
from tests.model.scripts import FORGOTTEN, NOBODY, SOMEBODY_GONE, Entry, Heartbeat, Position, Redis
from tests.model.truth import Truth

OWN_WRITES: Final = "own writes"
OURS: Final = 1
"""The token of this process's load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRules:
    """The first choice of each is the design, the others are mutants."""

    joiner_needs: Literal["accepted fill", "nothing"] = "accepted fill"
    joins_until: Literal["fill sent", "fill answered"] = "fill sent"
    joins_loads: Literal["young", "of any age", "of any age, seeing a heartbeat"] = "young"
    near_copy_answers: Literal["bounded reads", "every read"] = "bounded reads"
    near_copy_checked_by: Literal["heartbeat and version", "version"] = "heartbeat and version"
    trust_dates_from: Literal["request", "answer"] = "request"
    near_copy_dropped_at: Literal["receipt", "commit", "never"] = "receipt"
    drop_outdates_requests: bool = True


DESIGN: Final = ProcessRules()


class Copy(NamedTuple):
    """A decoded answer: near, or on its way from Redis to there."""

    content: int
    version: int
    age: int = 0
    """Ticks since the request was sent that brought it or last confirmed it."""
    outdated: bool = False
    """Sent before the copy was last dropped."""


# What the shared load is about to do. After FILL the answer is on its way back.
REST, ACQUIRE, LOAD, FILL, ANSWER = range(5)


class Load(NamedTuple):
    """The load under way, if any."""

    about_to: int = REST
    epoch: int = FORGOTTEN
    loaded: Copy = Copy(0, 0)


class Joiner(NamedTuple):
    """Somebody who waits for the load, and which content the promises owe it: those of when its read began."""

    fresh: int
    bounded: int


class State(NamedTuple):
    """Everything there is."""

    redis: Redis
    replica: Redis | None
    """A prefix of history, for failovers."""
    truth: Truth
    unsent: frozenset[tuple[int, bool]]
    """Committed contents whose invalidation has not reached Redis, and whether the writes are this process's."""
    unreceived: frozenset[int]
    """Contents of this process whose invalidation Redis did, with the answer on its way."""
    acknowledged: int
    received: int
    """The newest content of its own that this process has a receipt for."""
    near: Copy | None
    reply: Copy | None
    """What Redis answered to a look-up or a check of the near copy, on its way."""
    load: Load
    joiner: Joiner | None
    losses_left: int
    failovers_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessBounds:
    """How much is explored."""

    writes: int = 2
    bound_ticks: int = 1
    near_trust_ticks: int = 1
    losses: int = 0
    failovers: int = 0
    coalescing: bool = True
    near_copy: bool = True
    reductions: bool = True
    """Take states as one that differ only in what makes no difference any more. Off where a trace is to be told."""

    def __str__(self) -> str:
        parts = [f"{self.writes} writes", f"T={self.bound_ticks}", f"{self.losses} losses", f"{self.failovers} failovers"]
        parts += ["coalescing"] * self.coalescing + [f"near copy trusted {self.near_trust_ticks}"] * self.near_copy
        return ", ".join(parts)


class CachingProcess:
    """The model."""

    def __init__(self, bounds: ProcessBounds, rules: ProcessRules = DESIGN) -> None:
        self.bounds = bounds
        self.rules = rules
        self._t = bounds.bound_ticks
        self._oldest = bounds.bound_ticks + bounds.near_trust_ticks + 1

    def start(self) -> State:
        """Nothing anywhere."""
        none: frozenset[tuple[int, bool]] = frozenset()
        bounds = self.bounds
        nothing = State(Redis(), None, Truth((), ()), none, frozenset(), 0, 0, None, None, Load(), None, bounds.losses, bounds.failovers)
        return self.canonical(nothing)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Everything that may happen next, in canonical form."""
        for action, after, broken in self._everything(state):
            yield action, after if after is state else self.canonical(after), broken

    def _everything(self, state: State) -> Iterator[Step[State]]:
        yield from self._writers(state)
        yield from self._read(state)
        yield from self._load(state)
        yield from self._everybody_else(state)
        yield from self._faults(state)

    # ------------------------------------------------------------------------------------------------- writers: COMMIT, INVALIDATE, receipt

    def _writers(self, state: State) -> Iterator[Step[State]]:
        truth = state.truth
        if truth.latest < self.bounds.writes:
            committed = truth.begun().committed(truth.latest + 1)
            theirs = state._replace(truth=committed, unsent=state.unsent | {(committed.latest, False)})
            yield ("Another process commits content {}", committed.latest), theirs, ""
            ours = state._replace(truth=committed, unsent=state.unsent | {(committed.latest, True)})
            if self.rules.near_copy_dropped_at == "commit":
                ours = self._dropped(ours)
            yield ("This process commits content {}", committed.latest), ours, ""
        for content, ours_ in state.unsent:
            after = state._replace(
                redis=scripts.invalidate(state.redis, content, PROTOCOL),
                unsent=state.unsent - {(content, ours_)},
                unreceived=state.unreceived | {content} if ours_ else state.unreceived,
                acknowledged=max(state.acknowledged, content),
            )
            yield ("Redis invalidates for content {}", content), after, ""
        for content in state.unreceived:
            after = state._replace(unreceived=state.unreceived - {content}, received=max(state.received, content))
            if self.rules.near_copy_dropped_at == "receipt":
                after = self._dropped(after)
            yield ("This process has its receipt for content {}", content), after, ""

    def _dropped(self, state: State) -> State:
        if not self.rules.drop_outdates_requests:
            return state._replace(near=None)
        loaded = state.load.loaded._replace(outdated=state.load.about_to > LOAD)
        reply = None if state.reply is None else state.reply._replace(outdated=True)
        return state._replace(near=None, reply=reply, load=state.load._replace(loaded=loaded))

    # ---------------------------------------------------------------------------- reads of this process: near copy, check, look-up, joining

    def _read(self, state: State) -> Iterator[Step[State]]:
        near = state.near
        if near is not None and near.age <= self.bounds.near_trust_ticks:
            broken = ""
            if self.rules.near_copy_answers == "every read" and near.content < state.acknowledged:
                broken = FRESH
            elif near.content < state.received:
                broken = OWN_WRITES
            elif near.content < state.truth.committed_before(self._t + self.bounds.near_trust_ticks):
                broken = BOUNDED
            yield ("A read is answered content {} from the near copy", near.content), state, broken
        if state.reply is None:
            if near is not None:
                yield from self._check_near_copy(state, near)
            entry = scripts.look_up(state.redis, PROTOCOL)
            if entry is not None:
                broken = self._broken_by(entry.content, state)
                after = state._replace(reply=Copy(entry.content, entry.version)) if self.bounds.near_copy else state
                yield ("Redis answers a look-up with content {}", entry.content), after, broken
        else:
            after = self._with_near_copy(state._replace(reply=None), state.reply)
            yield ("The answer with content {} arrives", state.reply.content), after, ""
        # A miss, or a hit for who wants a newer one. Whether it looked up before makes no difference: what matters is the load's age.
        heartbeat, load = state.redis.heartbeat, state.load
        if load.about_to == REST and heartbeat is not None:
            yield ("A read misses and begins a load",), state._replace(load=Load(ACQUIRE, heartbeat.epoch)), ""
        elif self._may_be_joined(load, heartbeat) and state.joiner is None:
            yield ("Another read misses and joins the load",), self._joined(state), ""

    def _may_be_joined(self, load: Load, heartbeat: Heartbeat | None) -> bool:
        last = FILL if self.rules.joins_until == "fill sent" else ANSWER
        if not self.bounds.coalescing or not REST < load.about_to <= last:
            return False
        if self.rules.joins_loads == "young":
            return load.loaded.age <= self._t
        return self.rules.joins_loads == "of any age" or heartbeat is not None

    def _joined(self, state: State) -> State:
        return state._replace(joiner=Joiner(state.acknowledged, state.truth.committed_before(self._t)))

    def _check_near_copy(self, state: State, near: Copy) -> Iterator[Step[State]]:
        entry = scripts.look_up(state.redis, PROTOCOL) if self.rules.near_copy_checked_by == "heartbeat and version" else state.redis.entry
        if entry is not None and entry.version == near.version:
            broken = self._broken_by(near.content, state)
            after = state._replace(reply=Copy(near.content, near.version))
            yield ("Redis confirms that content {} has the entry's version", near.content), after, broken

    def _with_near_copy(self, state: State, copy: Copy) -> State:
        if copy.outdated or not self.bounds.near_copy:
            return state
        return state._replace(near=copy._replace(age=0) if self.rules.trust_dates_from == "answer" else copy)

    def _broken_by(self, content: int, state: State) -> str:
        if content < state.acknowledged:
            return FRESH
        return BOUNDED if content < state.truth.committed_before(self._t) else ""

    # ------------------------------------------------------------------------------------------------ the shared load and whoever joined it

    def _load(self, state: State) -> Iterator[Step[State]]:
        load, latest = state.load, state.truth.latest
        if load.about_to == REST:
            return
        if load.about_to == ACQUIRE:
            granted = scripts.acquire(state.redis, OURS)
            if granted is not None:
                yield ("The load gets the lease",), state._replace(redis=granted, load=load._replace(about_to=LOAD)), ""
        elif load.about_to == LOAD:
            yield ("The load reads content {}", latest), state._replace(load=Load(FILL, load.epoch, Copy(latest, latest))), ""
        elif load.about_to == FILL:
            content = load.loaded.content
            filled = scripts.fill(state.redis, OURS, Entry(load.epoch, load.loaded.version, content), PROTOCOL)
            if filled is not None:
                yield (
                    ("Redis accepts the fill of content {}", content),
                    state._replace(redis=filled, load=load._replace(about_to=ANSWER)),
                    "",
                )
            else:
                broken = self._broken_for_joiner(state) if self.rules.joiner_needs == "nothing" else ""
                yield ("Redis refuses the fill of content {}; who joined starts again", content), _without_load(state), broken
        elif load.about_to == ANSWER:
            after = self._with_near_copy(_without_load(state), load.loaded)
            yield ("The load ends; it and who joined are answered content {}", load.loaded.content), after, self._broken_for_joiner(state)
        yield ("The load goes no further; who joined starts again",), _without_load(state), ""

    def _broken_for_joiner(self, state: State) -> str:
        joiner, content = state.joiner, state.load.loaded.content
        if joiner is None:
            return ""
        if content < joiner.fresh:
            return FRESH
        return BOUNDED if content < joiner.bounded else ""

    # -------------------------------------------------------------------------------- the relay, other processes, time, and what goes wrong

    def _everybody_else(self, state: State) -> Iterator[Step[State]]:
        redis, truth = state.redis, state.truth
        yield ("A relay makes a pass",), state._replace(redis=_after_pass(state, self._t)), ""
        if redis.heartbeat is not None and redis.lease == NOBODY:
            entry = Entry(redis.heartbeat.epoch, truth.latest, truth.latest)
            yield (
                ("Another process loads and fills content {}", truth.latest),
                state._replace(redis=redis._replace(entry=entry, floor=0)),
                "",
            )
        if redis.entry is not None:
            yield ("The entry expires or is evicted",), state._replace(redis=redis._replace(entry=None)), ""
        if redis.lease != NOBODY or redis.floor:
            yield ("The lease ends, or what it keeps of the last telling",), state._replace(redis=scripts.end_of_lease(redis)), ""
        if state.near is not None:
            yield ("The near copy is evicted",), state._replace(near=None), ""
        replica = None if state.replica is None else scripts.tick(state.replica)
        loaded = self._older(state.load.loaded) if state.load.about_to > LOAD else state.load.loaded
        after = state._replace(
            redis=scripts.tick(redis),
            replica=replica,
            truth=truth.older(self._oldest),
            near=None if state.near is None else self._older(state.near),
            reply=None if state.reply is None else self._older(state.reply),
            load=state.load._replace(loaded=loaded),
        )
        yield ("A tick passes",), after, ""

    def _older(self, copy: Copy) -> Copy:
        return copy._replace(age=min(copy.age + 1, max(self._t, self.bounds.near_trust_ticks) + 1))

    def _faults(self, state: State) -> Iterator[Step[State]]:
        redis = state.redis
        if state.losses_left:
            poorer = state._replace(losses_left=state.losses_left - 1)
            if redis.position is not None:
                yield ("The position is evicted",), poorer._replace(redis=redis._replace(position=None)), ""
            if redis.heartbeat is not None:
                yield ("The heartbeat is evicted",), poorer._replace(redis=redis._replace(heartbeat=None)), ""
            if redis != Redis():
                yield ("FLUSHALL",), poorer._replace(redis=Redis()), ""
        if state.failovers_left and state.replica is None:
            yield ("From here on the replica lags",), state._replace(replica=redis), ""
        elif state.failovers_left and state.replica is not None:
            # History is lost, and with it what receipts promised; receipts on their way get lost too.
            joiner = None if state.joiner is None else state.joiner._replace(fresh=0)
            after = state._replace(redis=state.replica, replica=None, failovers_left=state.failovers_left - 1, joiner=joiner)
            yield ("Failover to the replica",), after._replace(acknowledged=0, received=0, unreceived=frozenset()), ""

    # ------------------------------------------------------------------------------------------------------- fewer names for the same state

    def canonical(self, state: State) -> State:
        """The one that stands for all that are taken as one with it."""
        if self.bounds.reductions:
            state = self._with_load_begun(_without_holders_gone(state))
            state = self._without_old_copies(state)
            state = self._with_what_is_owed(state)
        return _with_epochs_renamed(state)

    def _with_load_begun(self, state: State) -> State:
        """A load that has only just begun may begin again, and one may begin at any time: no need of both."""
        heartbeat = state.redis.heartbeat
        if state.load.about_to == REST and heartbeat is not None:
            state = state._replace(load=Load(ACQUIRE, heartbeat.epoch))
        # Of all who may join, the promises owe most to the last.
        return self._joined(state) if self._may_be_joined(state.load, heartbeat) else state

    def _without_old_copies(self, state: State) -> State:
        """Nobody takes a copy that is too old or outdated; and to check it tells no more than to look the entry up."""
        near, reply, trusted = state.near, state.reply, self.bounds.near_trust_ticks
        if self.rules.near_copy_checked_by == "heartbeat and version":
            if near is not None and near.age > trusted:
                state = state._replace(near=None)
            if reply is not None and (reply.outdated or (reply.age > trusted and self.rules.trust_dates_from == "request")):
                state = state._replace(reply=None)
        return state

    def _with_what_is_owed(self, state: State) -> State:
        """A receipt promises nothing that the bound does not."""
        if state.acknowledged and state.acknowledged <= state.truth.committed_before(self._t):
            state = state._replace(acknowledged=0)
        if state.received and state.received <= state.truth.committed_before(self._t + self.bounds.near_trust_ticks):
            state = state._replace(received=0)
        if state.joiner is not None and state.joiner.fresh and state.joiner.fresh <= state.joiner.bounded:
            state = state._replace(joiner=state.joiner._replace(fresh=0))
        return state


def _after_pass(state: State, bound_ticks: int) -> Redis:
    """MARK, snapshot and APPLY at one moment."""
    redis, truth = state.redis, state.truth
    if redis.position is None:
        epoch = new_epoch(live_epochs((redis, state.replica)))
    else:
        epoch = redis.position.epoch
        newest = truth.newest_change_since(redis.position.at)
        if newest:
            redis = scripts.invalidate(redis, newest, PROTOCOL)
    return redis._replace(position=Position(epoch, truth.xmin()), heartbeat=Heartbeat(epoch, bound_ticks))


def _without_load(state: State) -> State:
    """The next load takes another token, so nobody holds this one any more."""
    redis, replica = state.redis, state.replica
    if redis.lease == OURS:
        redis = redis._replace(lease=SOMEBODY_GONE)
    if replica is not None and replica.lease == OURS:
        replica = replica._replace(lease=SOMEBODY_GONE)
    return state._replace(redis=redis, replica=replica, load=Load(), joiner=None)


def _without_holders_gone(state: State) -> State:
    """A lease whose holder is gone keeps others from it until it ends. So does one that nobody asks for meanwhile: no need of both."""
    redis, replica = state.redis, state.replica
    if redis.lease == SOMEBODY_GONE:
        state = state._replace(redis=redis._replace(lease=NOBODY))
    if replica is not None and replica.lease == SOMEBODY_GONE:
        state = state._replace(replica=replica._replace(lease=NOBODY))
    return state


def _with_epochs_renamed(state: State) -> State:
    names = live_epochs((state.redis, state.replica))
    redis = renamed(state.redis, names)
    replica = None if state.replica is None else renamed(state.replica, names)
    epoch = names.get(state.load.epoch, FORGOTTEN)
    load = state.load if epoch == state.load.epoch else state.load._replace(epoch=epoch)
    if redis is state.redis and replica is state.replica and load is state.load:
        return state
    return state._replace(redis=redis, replica=replica, load=load)
