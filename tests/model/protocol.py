"""The coherence protocol as a state machine: one session, a few writes, readers, relays, and what goes wrong.

Each step is what the real code does without awaiting: one command or script of Redis, one statement of PostgreSQL. Between two steps of
one actor anything else may happen, for ever: so an actor that crashed, stalled, was cancelled, or whose command was lost, is simply one
that takes no further step. Nothing bounds how long things go on; bounded are only the writes, the actors, and the faults that do not heal
by themselves.

Time is whole ticks, and any number of steps fit into one. A heartbeat lives while its age is at most T, and an answer is too old if it
lacks a version whose age is above T: for closed bounds like these, whole ticks lose nothing. Only ages are kept, and none above what
anybody asks, so time may pass for ever in finitely many states.

The promises (docs/caching.md), checked at every hit:
- fresh: it shows every version whose invalidation Redis had acknowledged, unless Redis then lost history (the count starts again there).
- bounded: it shows every version older than T, in every case.
- at least: whoever wanted version v gets v or newer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from tests.model import scripts
from tests.model.epochs import Names, live_epochs, new_epoch, renamed
from tests.model.explorer import Step
from tests.model.rules import PROTOCOL, Rules
from tests.model.scripts import FORGOTTEN, NOBODY, SOMEBODY_GONE, Entry, Position, Redis
from tests.model.truth import OPEN, Truth

FRESH: Final = "fresh"
BOUNDED: Final = "bounded"
AT_LEAST: Final = "at least"

# What a reader is about to do,
LOOK_UP, ACQUIRE, LOAD, FILL = range(4)
# and a relay. In the protocol the last three are one step.
MARK, SNAPSHOT, APPLY, MOVE_POSITION, RENEW_HEARTBEAT = range(5)


class Reader(NamedTuple):
    """One read on its way; idle if it is about to look up."""

    about_to: int = LOOK_UP
    epoch: int = FORGOTTEN
    """The heartbeat's at the look-up: the entry's, if it comes to filling."""
    content: int = 0
    """What it loaded."""
    floor: int = 0
    """Its lease's."""


class Relay(NamedTuple):
    """One pass on its way; idle if it is about to mark."""

    about_to: int = MARK
    age: int = 0
    """Ticks since the MARK."""
    since: Position | None = None
    """What MARK returned."""
    at: int = 0
    """What the snapshot gives as the next position,"""
    newest: int = 0
    """and the newest change since the position (0: none)."""
    own: Position | None = None
    """The position, for the mutant that does not keep it in Redis."""


class State(NamedTuple):
    """Everything there is."""

    redis: Redis
    copy: Redis | None
    """A prefix of history: the lagging replica or the old dump that a failover or a restore will bring."""
    truth: Truth
    unsent: frozenset[int]
    """Committed versions whose writers have not reached Redis yet. They may never do."""
    acknowledged: int
    """The newest version whose invalidation Redis acknowledged since it last lost history."""
    readers: tuple[Reader, ...]
    relays: tuple[Relay, ...]
    losses_left: int
    failovers_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is explored."""

    writes: int = 2
    deletes: frozenset[int] = frozenset()
    """Which of the writes are deletions."""
    retries: bool = True
    """Whether saves are repeated with the same content."""
    overlaps: bool = True
    """Whether transactions may commit in another order than they began."""
    readers: int = 1
    relays: int = 1
    bound_ticks: int = 1
    """T."""
    losses: int = 0
    """How often a key other than the entry and the lease vanishes, or all do (FLUSHALL). Entry and lease vanish as often as they like."""
    failovers: int = 0
    """How often a prefix of history takes the place of the present."""
    reductions: bool = True
    """Take states as one that differ only in who is who, in what actors do who have lost already, or in whether somebody has begun who may
    begin at any time. Off where a trace is to be told."""

    def __str__(self) -> str:
        parts = [f"{self.writes} writes", f"{self.readers} readers", f"{self.relays} relays", f"T={self.bound_ticks}"]
        parts += [f"{self.losses} losses", f"{self.failovers} failovers"] + [f"deletes {sorted(self.deletes)}"] * bool(self.deletes)
        return ", ".join(parts)


class CoherenceProtocol:
    """The model. `steps` reads top to bottom; each actor has a method."""

    def __init__(self, bounds: Bounds, rules: Rules = PROTOCOL) -> None:
        self.bounds = bounds
        self.rules = rules
        self._t = bounds.bound_ticks
        self._number = _version_numbers(bounds, rules)

    def start(self) -> State:
        """An empty Redis, an empty table, nobody doing anything."""
        readers, relays = (Reader(),) * self.bounds.readers, (Relay(),) * self.bounds.relays
        nothing = State(Redis(), None, Truth((), ()), frozenset(), 0, readers, relays, self.bounds.losses, self.bounds.failovers)
        return self.canonical(nothing)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Everything that may happen next, in canonical form."""
        for action, after, broken in self._everything(state):
            yield action, after if after is state else self.canonical(after), broken

    def _everything(self, state: State) -> Iterator[Step[State]]:
        yield from self._writers(state)
        for who in range(len(state.readers)):
            yield from self._reader(state, who)
        for who in range(len(state.relays)):
            yield from self._relay(state, who)
        yield from self._what_ends_by_itself(state)
        if state.losses_left:
            yield from self._losses(state)
        if state.failovers_left:
            yield from self._failovers(state)

    # --------------------------------------------------------------------------------------------------- writers: BEGIN, COMMIT, INVALIDATE

    def _writers(self, state: State) -> Iterator[Step[State]]:
        truth = state.truth
        if len(truth.transactions) < self.bounds.writes and (self.bounds.overlaps or OPEN not in truth.transactions):
            yield ("A writer begins transaction {}", len(truth.transactions) + 1), state._replace(truth=truth.begun()), ""
        for xid, version in enumerate(truth.transactions, 1):
            if version == OPEN:
                after = state._replace(truth=truth.committed(xid), unsent=state.unsent | {truth.latest + 1})
                yield ("Transaction {} commits content {}", xid, truth.latest + 1), after, ""
        for content in state.unsent:
            how = "invalidates" if self.rules.writer_sends == "invalidation" else "stores it"
            yield ("The writer of content {} " + how + " and has its receipt", content), self._told_redis(state, content), ""
        latest = truth.latest
        if self._may_be_saved_again(latest):
            if self.rules.unchanged_save_invalidates:
                after = state._replace(unsent=state.unsent | {latest})
            else:
                after = state._replace(acknowledged=latest)
            yield ("Content {} is saved once more, which changes nothing", latest), after, ""

    def _may_be_saved_again(self, content: int) -> bool:
        return self.bounds.retries and content > 0 and content not in self.bounds.deletes

    def _told_redis(self, state: State, content: int) -> State:
        redis, rules = state.redis, self.rules
        if rules.writer_sends == "value":
            epoch = FORGOTTEN if redis.heartbeat is None else redis.heartbeat.epoch
            redis = redis._replace(entry=self._entry(epoch, content))
        else:
            redis = scripts.invalidate(redis, self._number[content], rules, deletes=content in self.bounds.deletes)
        return state._replace(redis=redis, unsent=state.unsent - {content}, acknowledged=max(state.acknowledged, content))

    # ------------------------------------------------------------------------------------------------ readers: LOOK UP, ACQUIRE, LOAD, FILL

    def _reader(self, state: State, who: int) -> Iterator[Step[State]]:
        redis, reader = state.redis, state.readers[who]
        if reader.about_to == LOOK_UP or (self.bounds.reductions and reader.about_to == ACQUIRE and _is_of_now(reader, redis)):
            yield from self._look_up(state, who)
        if reader.about_to == LOOK_UP:
            return
        if reader.about_to == ACQUIRE:
            granted = scripts.acquire(redis, token=who + 1)
            if granted is not None:
                after = state._replace(
                    redis=granted, readers=_with(state.readers, who, reader._replace(about_to=LOAD, floor=granted.floor))
                )
                yield ("Reader {} gets the lease", who + 1), after, ""
        elif reader.about_to == LOAD:
            after = state._replace(readers=_with(state.readers, who, reader._replace(about_to=FILL, content=state.truth.latest)))
            yield ("Reader {} loads content {}", who + 1, state.truth.latest), after, ""
        elif reader.about_to == FILL:
            floor = reader.floor if self.rules.absent_version == "floor" else self._number[state.truth.latest]
            filled = scripts.fill(redis, who + 1, self._entry(reader.epoch, reader.content, floor), self.rules)
            if filled is None:
                yield ("Reader {} is refused to fill content {}", who + 1, reader.content), _done_reading(state, who), ""
            else:
                yield ("Reader {} fills content {}", who + 1, reader.content), _done_reading(state._replace(redis=filled), who), ""
        # Told "busy" or "hit", timed out, cancelled, or dead and somebody else in its place: its answer comes from elsewhere.
        yield ("Reader {} goes no further", who + 1), _done_reading(state, who), ""

    def _look_up(self, state: State, who: int) -> Iterator[Step[State]]:
        heartbeat = state.redis.heartbeat
        if heartbeat is None:
            yield ("Reader {} finds no heartbeat and asks the database", who + 1), state, ""
            return
        entry = scripts.look_up(state.redis, self.rules)
        if entry is not None:
            yield ("Reader {} is answered content {} from Redis", who + 1, entry.content), state, self._broken_by(entry, state)
        # A miss. Or a hit that is not new enough for who wants at least another version, or past its soft expiry, so that whoever gets
        # the lease loads and fills beside a good entry. What acquire.lua answers "hit" is a look-up more.
        after = state._replace(readers=_with(state.readers, who, Reader(ACQUIRE, heartbeat.epoch)))
        yield ("Reader {} wants a newer entry than Redis has", who + 1), after, ""

    def _broken_by(self, entry: Entry, state: State) -> str:
        if entry.content < state.acknowledged:
            return FRESH
        if entry.content < state.truth.committed_before(self._t):
            return BOUNDED
        # Whoever wants at least content w knows it by its number.
        if any(entry.content < wanted and entry.version >= self._number[wanted] for wanted in range(1, state.truth.latest + 1)):
            return AT_LEAST
        return ""

    def _entry(self, epoch: int, content: int, floor: int = 0) -> Entry:
        """As codec.py does: what says "there is nothing" has the floor for a version, which every write after that is newer than."""
        absent = content == 0 or content in self.bounds.deletes
        return Entry(epoch, floor if absent else self._number[content], content)

    # ----------------------------------------------------------------------------------------------------- the relay: MARK, SNAPSHOT, APPLY

    def _relay(self, state: State, who: int) -> Iterator[Step[State]]:
        redis, relay = state.redis, state.relays[who]
        # A pass may be given up anywhere (the relay crashed, was cancelled, timed out, or its APPLY was lost): the next begins.
        since = redis.position if self.rules.position_kept_in == "redis" else relay.own
        begun = _forget_nonce(state, who)
        begun = begun._replace(
            redis=scripts.mark(begun.redis, who + 1), relays=_with(state.relays, who, Relay(SNAPSHOT, 0, since, own=relay.own))
        )
        yield ("Relay {} marks", who + 1), begun, ""
        if relay.about_to == SNAPSHOT:
            yield (
                ("Relay {} reads the change log", who + 1),
                state._replace(relays=_with(state.relays, who, self._snapshot(relay, state.truth))),
                "",
            )
        elif relay.about_to == APPLY:
            if not scripts.may_apply(redis, who + 1, relay.since, self.rules):
                yield ("Relay {} is refused to apply", who + 1), self._end_of_pass(state, who), ""
                return
            applied = scripts.invalidate(redis, self._number[relay.newest], self.rules) if relay.newest else redis
            after = state._replace(redis=applied, relays=_with(state.relays, who, relay._replace(about_to=MOVE_POSITION)))
            if self.rules.apply_is_atomic:
                after = self._renew_heartbeat(self._move_position(after, who), who)
            what = "begins a new epoch" if relay.since is None else "applies what changed"
            yield ("Relay {} " + what, who + 1), after, ""
        elif relay.about_to == MOVE_POSITION and scripts.may_apply(redis, who + 1, relay.since, self.rules):
            yield ("Relay {} moves the position", who + 1), self._move_position(state, who), ""
        elif relay.about_to == RENEW_HEARTBEAT and redis.mark == who + 1:
            yield ("Relay {} renews the heartbeat", who + 1), self._renew_heartbeat(state, who), ""

    def _snapshot(self, relay: Relay, truth: Truth) -> Relay:
        at = truth.xmin() if self.rules.log_read_from == "xmin" else truth.after_last_seen()
        # Without a position the log cannot tell what changed: a new epoch distrusts all entries, so there is nothing to invalidate.
        newest = 0 if relay.since is None else truth.newest_change_since(relay.since.at)
        return relay._replace(about_to=APPLY, at=at, newest=newest)

    def _move_position(self, state: State, who: int) -> State:
        relay = state.relays[who]
        position = Position(self._new_epoch(state) if relay.since is None else relay.since.epoch, relay.at)
        redis = scripts.move_position(state.redis, position, self.rules)
        return state._replace(redis=redis, relays=_with(state.relays, who, relay._replace(about_to=RENEW_HEARTBEAT, since=position)))

    def _new_epoch(self, state: State) -> int:
        return new_epoch(_names(state)) if self.rules.lost_position_begins_epoch else 1

    def _renew_heartbeat(self, state: State, who: int) -> State:
        relay = state.relays[who]
        assert relay.since is not None
        left = self._t - relay.age if self.rules.heartbeat_dates_from == "mark" else self._t
        redis = scripts.renew_heartbeat(state.redis, relay.since.epoch, left)
        own = relay.since if self.rules.position_kept_in == "relay" else None
        return self._end_of_pass(state._replace(redis=redis, relays=_with(state.relays, who, relay._replace(own=own))), who)

    def _end_of_pass(self, state: State, who: int) -> State:
        return _forget_nonce(state, who)._replace(relays=_with(state.relays, who, Relay(own=state.relays[who].own)))

    # ------------------------------------------------------------------------------------------------------------ time, and what goes wrong

    def _what_ends_by_itself(self, state: State) -> Iterator[Step[State]]:
        redis, oldest = state.redis, self._t + 1
        relays = tuple([relay._replace(age=min(relay.age + 1, oldest)) if relay.about_to else relay for relay in state.relays])
        copy = None if state.copy is None else scripts.tick(state.copy)
        yield ("A tick passes",), state._replace(redis=scripts.tick(redis), copy=copy, truth=state.truth.older(oldest), relays=relays), ""
        if redis.entry is not None:
            yield ("The entry expires or is evicted",), state._replace(redis=redis._replace(entry=None)), ""
        if redis.lease != NOBODY or redis.floor:
            yield ("The lease expires, is given back or evicted",), state._replace(redis=scripts.end_of_lease(redis)), ""

    def _losses(self, state: State) -> Iterator[Step[State]]:
        redis, poorer = state.redis, state._replace(losses_left=state.losses_left - 1)
        if redis.position is not None:
            yield ("The position is evicted",), poorer._replace(redis=redis._replace(position=None)), ""
        if redis.heartbeat is not None:
            yield ("The heartbeat is evicted",), poorer._replace(redis=redis._replace(heartbeat=None)), ""
        if redis.mark != NOBODY:
            yield ("The mark is evicted",), poorer._replace(redis=redis._replace(mark=NOBODY)), ""
        if redis != Redis():
            yield ("FLUSHALL",), poorer._replace(redis=Redis()), ""

    def _failovers(self, state: State) -> Iterator[Step[State]]:
        if state.copy is None:
            yield ("From here on the replica lags (or: the dump is written)",), state._replace(copy=state.redis), ""
        else:
            # The receipts given are void; those to come count again.
            after = state._replace(redis=state.copy, copy=None, acknowledged=0, failovers_left=state.failovers_left - 1)
            yield ("Failover to the replica (or: restore of the dump)",), after, ""

    # ------------------------------------------------------------------------------------------------------- fewer names for the same state

    def canonical(self, state: State) -> State:
        """The one that stands for all that are taken as one with it."""
        if self.bounds.reductions:
            state = _without_losers(state, self.rules)
            state = _without_holders_gone(state)
            state = self._with_everybody_ready(state)
            if state.acknowledged and state.acknowledged <= state.truth.committed_before(self._t):
                state = state._replace(acknowledged=0)
        if _tells_epochs_apart(self.rules):
            state = _with_epochs_renamed(state)
        if self.bounds.reductions:
            if len(state.readers) > 1:
                state = _with_readers_sorted(state)
            if len(state.relays) > 1:
                state = _with_relays_sorted(state)
        return state

    def _with_everybody_ready(self, state: State) -> State:
        """Who is idle may begin at any time, and who has only just begun may begin again: no need of both."""
        redis, latest = state.redis, state.truth.latest
        if redis.heartbeat is not None and any(reader.about_to == LOOK_UP for reader in state.readers):
            begun = Reader(ACQUIRE, redis.heartbeat.epoch)
            state = state._replace(readers=tuple([begun if reader.about_to == LOOK_UP else reader for reader in state.readers]))
        if len(state.relays) == 1 and state.relays[0].about_to == MARK:
            # Of two, one that marks ends the other's pass.
            (relay,) = state.relays
            state = state._replace(redis=redis._replace(mark=1), relays=(relay._replace(about_to=SNAPSHOT, since=redis.position),))
        if self._may_be_saved_again(latest) and self.rules.unchanged_save_invalidates and latest not in state.unsent:
            state = state._replace(unsent=state.unsent | {latest})
        return state


def _version_numbers(bounds: Bounds, rules: Rules) -> tuple[int, ...]:
    """By content, its version: the same, unless a deletion takes the counter with it."""
    numbers = [0]
    for content in range(1, bounds.writes + 1):
        restarts = not rules.versions_survive_deletes and content - 1 in bounds.deletes
        numbers.append(1 if restarts else numbers[-1] + 1)
    return tuple(numbers)


T = TypeVar("T")


def _with(actors: tuple[T, ...], who: int, actor: T) -> tuple[T, ...]:
    return (*actors[:who], actor, *actors[who + 1 :])


def _done_reading(state: State, who: int) -> State:
    """The next read by this reader takes another token, so nobody holds this one any more."""
    redis, copy, token = state.redis, state.copy, who + 1
    if redis.lease == token:
        redis = redis._replace(lease=SOMEBODY_GONE)
    if copy is not None and copy.lease == token:
        copy = copy._replace(lease=SOMEBODY_GONE)
    return state._replace(redis=redis, copy=copy, readers=_with(state.readers, who, Reader()))


def _forget_nonce(state: State, who: int) -> State:
    """The next pass of this relay takes another nonce; a mark nobody asks for is as good as none."""
    redis, copy, nonce = state.redis, state.copy, who + 1
    if redis.mark == nonce:
        redis = redis._replace(mark=NOBODY)
    if copy is not None and copy.mark == nonce:
        copy = copy._replace(mark=NOBODY)
    return state._replace(redis=redis, copy=copy)


def _names(state: State) -> Names:
    positions = [position for relay in state.relays for position in (relay.since, relay.own)]
    return live_epochs((state.redis, state.copy), positions)


def _with_epochs_renamed(state: State) -> State:
    names = _names(state)
    redis, copy, readers, relays = state.redis, state.copy, state.readers, state.relays
    redis = renamed(redis, names)
    if copy is not None:
        copy = renamed(copy, names)
    if any(reader.epoch != names.get(reader.epoch, FORGOTTEN) for reader in readers):
        readers = tuple([reader._replace(epoch=names.get(reader.epoch, FORGOTTEN)) for reader in readers])
    if any(epoch != name for epoch, name in names.items()):
        relays = tuple([relay._replace(since=_moved(relay.since, names), own=_moved(relay.own, names)) for relay in relays])
    if redis is state.redis and copy is state.copy and readers is state.readers and relays is state.relays:
        return state
    return state._replace(redis=redis, copy=copy, readers=readers, relays=relays)


def _moved(position: Position | None, names: Names) -> Position | None:
    return None if position is None else Position(names[position.epoch], position.at)


def _without_losers(state: State, rules: Rules) -> State:
    """Whose nonce, position, token or epoch is nowhere any more is refused, or not believed: that pass or read may as well end now."""
    for who, relay in enumerate(state.relays):
        if relay.about_to != MARK and (_has_lost_mark(state, who, rules) or _has_lost_position(state, relay, rules)):
            ended = _forget_nonce(state, who)
            state = ended._replace(relays=_with(ended.relays, who, Relay(own=relay.own)))
    epochs_end = rules.entry_epoch_of == "look-up" and _tells_epochs_apart(rules)
    for who, reader in enumerate(state.readers):
        # What is filled under an epoch that ended is as if entry and lease had been evicted, which may happen anyway.
        if reader.about_to != LOOK_UP and (
            (rules.fill_needs == "token" and reader.about_to != ACQUIRE and not _holds_token(state, who))
            or (epochs_end and not _is_of_now(reader, state.redis) and reader.epoch not in _names(state))
        ):
            state = _done_reading(state, who)
    return state


def _tells_epochs_apart(rules: Rules) -> bool:
    return rules.lost_position_begins_epoch and rules.readers_compare_epochs


def _holds_token(state: State, who: int) -> bool:
    return state.redis.lease == who + 1 or (state.copy is not None and state.copy.lease == who + 1)


def _has_lost_mark(state: State, who: int, rules: Rules) -> bool:
    redis, copy = state.redis, state.copy
    return rules.apply_checks_nonce and redis.mark != who + 1 and (copy is None or copy.mark != who + 1)


def _has_lost_position(state: State, relay: Relay, rules: Rules) -> bool:
    """No position comes back but with the copy. That there is none comes back with a loss."""
    if not rules.apply_checks_position or rules.position_kept_in != "redis" or (relay.since is None and state.losses_left):
        return False
    return state.redis.position != relay.since and (state.copy is None or state.copy.position != relay.since)


def _without_holders_gone(state: State) -> State:
    """A lease whose holder is gone keeps others from it until it ends. So does one that nobody asks for meanwhile: no need of both."""
    redis, copy = state.redis, state.copy
    if redis.lease == SOMEBODY_GONE:
        state = state._replace(redis=redis._replace(lease=NOBODY))
    if copy is not None and copy.lease == SOMEBODY_GONE:
        state = state._replace(copy=copy._replace(lease=NOBODY))
    return state


def _is_of_now(reader: Reader, redis: Redis) -> bool:
    """Whether it would see the same epoch if it looked up now."""
    return redis.heartbeat is not None and redis.heartbeat.epoch == reader.epoch


def _with_readers_sorted(state: State) -> State:
    """Which reader is which does not matter, only what it is about to do and whether it holds the lease."""
    leases = (state.redis.lease, NOBODY if state.copy is None else state.copy.lease)
    order = sorted(range(len(state.readers)), key=lambda who: (state.readers[who], [lease == who + 1 for lease in leases]))
    if order == sorted(order):
        return state
    token = {who + 1: place for place, who in enumerate(order, 1)}
    return state._replace(
        redis=state.redis._replace(lease=token.get(leases[0], leases[0])),
        copy=None if state.copy is None else state.copy._replace(lease=token.get(leases[1], leases[1])),
        readers=tuple([state.readers[who] for who in order]),
    )


def _with_relays_sorted(state: State) -> State:
    """Nor does which relay is which."""
    marks = (state.redis.mark, NOBODY if state.copy is None else state.copy.mark)

    def key(who: int) -> tuple[object, ...]:
        relay = state.relays[who]
        return (relay.about_to, relay.age, relay.since or (), relay.at, relay.newest, relay.own or (), [mark == who + 1 for mark in marks])

    order = sorted(range(len(state.relays)), key=key)
    if order == sorted(order):
        return state
    nonce = {who + 1: place for place, who in enumerate(order, 1)}
    return state._replace(
        redis=state.redis._replace(mark=nonce.get(marks[0], marks[0])),
        copy=None if state.copy is None else state.copy._replace(mark=nonce.get(marks[1], marks[1])),
        relays=tuple([state.relays[who] for who in order]),
    )
