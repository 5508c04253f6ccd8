"""Redis as the protocol sees it, and adapters/redis_cache/scripts/*.lua as functions: state and arguments in, state and answer out.

A script is atomic, so each is one step. Time is relative: what Redis knows of it is how many ticks the heartbeat has left.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.model.rules import Rules

NOBODY: Final = 0
SOMEBODY_GONE: Final = -1
"""A token whose holder no longer exists. It still keeps others from the lease until it ends."""

FORGOTTEN: Final = 0
"""Every epoch that can never be the heartbeat's again."""


class Entry(NamedTuple):
    """What the header says, and which content it stands before."""

    epoch: int
    version: int
    content: int


class Position(NamedTuple):
    """Up to where the change log has been applied, in which epoch."""

    epoch: int
    at: int


class Heartbeat(NamedTuple):
    """Readers believe entries of this epoch for so many ticks; in the last, 0 is left."""

    epoch: int
    left: int


class Redis(NamedTuple):
    """One primary's keys."""

    entry: Entry | None = None
    lease: int = NOBODY
    position: Position | None = None
    heartbeat: Heartbeat | None = None
    mark: int = NOBODY


def look_up(redis: Redis, rules: Rules) -> Entry | None:
    """MGET entry heartbeat: the entry, if it may be believed."""
    entry, heartbeat = redis.entry, redis.heartbeat
    if heartbeat is None or entry is None:
        return None
    return entry if entry.epoch == heartbeat.epoch or not rules.readers_compare_epochs else None


def acquire(redis: Redis, token: int) -> Redis | None:
    """acquire.lua: SET NX. None if another holds the lease."""
    return redis._replace(lease=token) if redis.lease == NOBODY else None


def fill(redis: Redis, token: int, entry: Entry, rules: Rules) -> Redis | None:
    """fill.lua. None if refused."""
    if rules.fill_needs == "token":
        accepted = redis.lease == token
    elif rules.fill_needs == "newer version":
        accepted = redis.entry is None or redis.entry.version < entry.version
    else:
        accepted = True
    if not accepted:
        return None
    if rules.entry_epoch_of == "fill":
        entry = entry._replace(epoch=FORGOTTEN if redis.heartbeat is None else redis.heartbeat.epoch)
    return redis._replace(entry=entry, lease=NOBODY)


def invalidate(redis: Redis, version: int, *, voids_lease: bool = True) -> Redis:
    """invalidate.lua, and the same function in apply.lua: drops what is older, voids the lease."""
    entry = redis.entry
    if entry is not None and entry.version < version:
        entry = None
    return redis._replace(entry=entry, lease=NOBODY if voids_lease else redis.lease)


def mark(redis: Redis, nonce: int) -> Redis:
    """mark.lua: begins a pass. It also returns the time and the position."""
    return redis._replace(mark=nonce)


def may_apply(redis: Redis, nonce: int, expected: Position | None, rules: Rules) -> bool:
    """The first half of apply.lua: does this server remember the MARK, and has the position stayed?"""
    if rules.apply_checks_nonce and redis.mark != nonce:
        return False
    return redis.position == expected or not rules.apply_checks_position or rules.position_kept_in == "relay"


def move_position(redis: Redis, position: Position, rules: Rules) -> Redis:
    """SET position."""
    return redis._replace(position=position) if rules.position_kept_in == "redis" else redis


def renew_heartbeat(redis: Redis, epoch: int, left: int) -> Redis:
    """SET heartbeat PXAT: an end in the past deletes it. The pass is over, so the mark goes too."""
    return redis._replace(heartbeat=Heartbeat(epoch, left) if left >= 0 else None, mark=NOBODY)


def tick(redis: Redis) -> Redis:
    """A tick later. Redis expires what ended *before* now, so an end at this very moment still counts."""
    heartbeat = redis.heartbeat
    if heartbeat is None:
        return redis
    return redis._replace(heartbeat=Heartbeat(heartbeat.epoch, heartbeat.left - 1) if heartbeat.left > 0 else None)
