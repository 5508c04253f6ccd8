"""The real code with one care left out. Each is a mistake that a cache of this kind is easily built with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from adapters.redis_cache.entry import pack
from domain.analytics import SessionAnalytics
from domain.ports import AnalyticsAnswer, SaveReceipt
from domain.session import SessionId

Mutate = Callable[[Any], None]


def in_script(name: str, old: str, new: str) -> Mutate:
    """Another text in one of the scripts."""

    def mutate(cache: Any) -> None:
        script = getattr(cache._leases._scripts, name)
        assert old in script.text
        script.text = script.text.replace(old, new)
        script.sha = hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()

    return mutate


def stores_what_it_wrote(cache: Any) -> None:
    """Write-through: commit, then SET."""

    async def save(analytics: SessionAnalytics) -> SaveReceipt:
        receipt = await cache._inner.save(analytics)
        keys, session_id = cache._relay.partitions[0], analytics.session_id
        answer = AnalyticsAnswer(analytics, receipt.version, "postgres", 0.0)
        epoch = bytes.fromhex((await cache._server.on(keys.position, lambda client: client.get(keys.position))).decode().partition(":")[0])
        entry = await cache._answers._codec.entry(session_id, answer, epoch)
        await cache._server.on(keys.position, lambda client: client.set(keys.entry(session_id), pack(entry), px=60_000))
        return SaveReceipt(receipt.version, receipt.changed, fresh=True)

    cache.save = save


def invalidates_before_the_commit(cache: Any) -> None:
    """And not after it."""

    async def save(analytics: SessionAnalytics) -> SaveReceipt:
        await cache._invalidate(analytics.session_id, None)
        return SaveReceipt((await cache._inner.save(analytics)).version, changed=True, fresh=True)

    cache.save = save


def reads_the_database_before_it_has_the_lease(cache: Any) -> None:
    """A lease that was given later vouches for nothing that was read before."""
    acquire, read = cache._leases.acquire, cache._truth.get
    early: dict[SessionId, AnalyticsAnswer | None] = {}

    async def read_and_acquire(keys: Any, session_ids: Any, *rest: Any) -> Any:
        early[session_ids[0]] = await read(session_ids[0])
        return await acquire(keys, session_ids, *rest)

    async def what_was_read(session_id: SessionId) -> AnalyticsAnswer | None:
        return early.pop(session_id) if session_id in early else await read(session_id)

    cache._leases.acquire, cache._truth.get = read_and_acquire, what_was_read


def shares_every_load(cache: Any) -> None:
    """Naive coalescing: whoever comes while a load is under way has its result, until the moment it has landed."""
    cache._loading._loads.depart = lambda key: None


def shares_refused_loads(cache: Any) -> None:
    """Whoever joined takes a load for its own: also one that Redis refused, because somebody wrote meanwhile."""
    join = cache._loading._loads.join

    async def join_as_ours(*asked: Any) -> Any:
        landed = await join(*asked)
        return type(landed)(landed.result, joined=False)

    cache._loading._loads.join = join_as_ours


def keeps_the_epoch(cache: Any) -> None:
    """Where the position is lost, the old entries go on."""
    feed = cache._relay._feed

    class Forgetful:
        store_id = feed.store_id

        async def changes_since(self, position: int | None) -> Any:
            changes = await feed.changes_since(position)
            return type(changes)(changes.position, changes.changes or ())

    cache._relay._feed = Forgetful()
    in_script("apply", "redis.call('SET', KEYS[3], ARGV[4]", "redis.call('SET', KEYS[3], 'constant'")(cache)


_VOIDS_THE_LEASE: Final = "redis.call('SET', lease, NOBODY .. version, 'PX', floor_ms)"
_HOLDS_THE_TOKEN: Final = "if holder == ARGV[1] then"
_IS_NEWER: Final = "local there = header_of(entry)\n  if there == '' or there:sub(9, 24) < ARGV[i + 1]:sub(9, 24) then"


def compares_versions(cache: Any) -> None:
    """Of the entry that is there, if one is; and knows no floor."""
    in_script("fill", _HOLDS_THE_TOKEN, _IS_NEWER)(cache)
    in_script("fill", "if ARGV[i + 1]:sub(9, 24) >= floor then", "if true then")(cache)


def leaves_the_lease(cache: Any) -> None:
    """Nor does a writer wait for whoever has it, which would mend what it broke before its receipt is there."""
    in_script("invalidate", _VOIDS_THE_LEASE, "")(cache)
    policy = cache._single._policy
    cache._single._policy = replace(policy, follow_s_max=1.5 * policy.follow_poll_s)


MUTANTS: Final[dict[str, tuple[Mutate, str]]] = {
    "whoever loaded may fill": (in_script("fill", _HOLDS_THE_TOKEN, "if true then"), "a reader and a writer"),
    "versions are compared instead of leases": (
        compares_versions,
        "a reader, a relay and a program that knows of no cache",
    ),
    "writers leave the lease": (leaves_the_lease, "a reader and a writer"),
    "the relay leaves the lease": (
        in_script("apply", _VOIDS_THE_LEASE, ""),
        "a reader, a relay and a program that knows of no cache",
    ),
    "writers store what they wrote": (stores_what_it_wrote, "two writers"),
    "writers invalidate before they commit": (invalidates_before_the_commit, "a reader and a writer"),
    # As long as the lease has the floor of what was written, what was read before that is refused.
    "readers load before they have the lease": (
        reads_the_database_before_it_has_the_lease,
        "a reader, a writer, and entry and lease are evicted",
    ),
    "loads are joined until they land": (shares_every_load, "two readers in one process, and news"),
    "refused loads are shared": (shares_refused_loads, "two readers in one process, and news"),
    "the heartbeat dates from APPLY": (in_script("apply", "'PXAT', ARGV[5]", "'PX', '200'"), "a relay, and time"),
    "a lost position costs no epoch": (keeps_the_epoch, "a relay that has to begin anew"),
}
