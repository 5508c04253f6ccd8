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
    floor: int = 0
    """In the lease key too: the version that was told last. Whoever gets the lease then loads it, or a newer one."""
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
    """acquire.lua: the lease, with the floor it has. None if another holds it."""
    return redis._replace(lease=token) if redis.lease == NOBODY else None


def fill(redis: Redis, token: int, entry: Entry, rules: Rules) -> Redis | None:
    """fill.lua. None if refused."""
    if rules.fill_needs == "token":
        accepted = redis.lease == token and entry.version >= redis.floor
    elif rules.fill_needs == "newer version":
        accepted = redis.entry is None or redis.entry.version < entry.version
    else:
        accepted = True
    if not accepted:
        return None
    if rules.entry_epoch_of == "fill":
        entry = entry._replace(epoch=FORGOTTEN if redis.heartbeat is None else redis.heartbeat.epoch)
    return redis._replace(entry=entry, lease=NOBODY, floor=0)


def invalidate(redis: Redis, version: int, rules: Rules, *, deletes: bool = False) -> Redis:
    """invalidate.lua, and the same function in apply.lua: drops what is older, voids the lease below this version."""
    entry = redis.entry
    if entry is not None and entry.version < version:
        entry = None
    if deletes and not rules.delete_voids_lease:
        return redis._replace(entry=entry)
    if redis.floor >= version or (redis.floor and rules.lease_voided_below == "any floor"):
        return redis._replace(entry=entry)
    return redis._replace(entry=entry, lease=NOBODY, floor=version)


def end_of_lease(redis: Redis) -> Redis:
    """The lease key expires, is given back or evicted, and the floor with it."""
    return redis._replace(lease=NOBODY, floor=0)


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
