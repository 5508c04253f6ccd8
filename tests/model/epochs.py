"""Epochs are random bytes: only which are the same matters. Numbering them in order of appearance makes equal states equal.

An epoch that is in no position and no heartbeat can never become the heartbeat's again: it is FORGOTTEN, and an entry of it is as good as
none, for no reader believes it and no script looks at it.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.model.scripts import Entry, Heartbeat, Position, Redis

Names = dict[int, int]
"""By epoch, its number in the order of appearance."""


def live_epochs(servers: Iterable[Redis | None], positions: Iterable[Position | None] = ()) -> Names:
    """The epochs that are or may become a heartbeat's, in these servers' keys and these positions kept elsewhere."""
    names: Names = {}
    for redis in servers:
        if redis is not None:
            if redis.position is not None:
                names.setdefault(redis.position.epoch, len(names) + 1)
            if redis.heartbeat is not None:
                names.setdefault(redis.heartbeat.epoch, len(names) + 1)
    for position in positions:
        if position is not None:
            names.setdefault(position.epoch, len(names) + 1)
    return names


def new_epoch(names: Names) -> int:
    """One that is nobody's yet."""
    return max(names, default=0) + 1


def renamed(redis: Redis, names: Names) -> Redis:
    """The same keys under the epochs' new numbers. The same object if nothing changes, which is usual and saves much time."""
    entry, heartbeat, position = redis.entry, redis.heartbeat, redis.position
    if entry is not None and names.get(entry.epoch) != entry.epoch:
        entry = Entry(names[entry.epoch], entry.version, entry.content) if entry.epoch in names else None
    if heartbeat is not None and names[heartbeat.epoch] != heartbeat.epoch:
        heartbeat = Heartbeat(names[heartbeat.epoch], heartbeat.left)
    if position is not None and names[position.epoch] != position.epoch:
        position = Position(names[position.epoch], position.at)
    if entry is redis.entry and heartbeat is redis.heartbeat and position is redis.position:
        return redis
    return redis._replace(entry=entry, position=position, heartbeat=heartbeat)
