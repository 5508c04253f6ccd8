"""Keeps the cache in step with the truth, whoever wrote to it.

One pass: MARK (a nonce; Redis tells its time r0 and the position) → read the truth's change log from that position, in one snapshot →
APPLY, one script: drop what changed, move the position, renew the heartbeat until r0 + the bound. Readers use Redis only while the
heartbeat lives, so whatever keeps the relay from passing (it crashed, Redis froze, the database is away) ends the reading from Redis within
the bound, and nothing is mended by hand.

Partitions are each the whole protocol: a mark, a position, an epoch and a heartbeat of their own. A pass marks all of them before it reads
the log, once, from the oldest of their positions; what one of them knew already is told to it again, which changes nothing.

Two things look removable and are not. The heartbeat dates from before the snapshot: dated at APPLY, a relay that was stopped in between
would vouch for changes it never saw. The position lives in Redis and moves in the script that applies: a failover or an old dump then rolls
both back together, and the changes are applied again. The nonce is a second lock on the same door: of the two checks of APPLY either one
suffices, as tests/model shows, and it keeps a slow pass from shortening the heartbeat of a later one.

An epoch is a stretch of history without a gap. Where the log cannot tell what changed since the position, a new epoch begins and every
entry of an older one is a miss.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Final

import structlog

from adapters.redis_cache.entry import EPOCH_BYTES, version_text
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.lua import Scripts
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.server import Exchanges, Unavailable
from adapters.redis_cache.stats import CacheStats
from adapters.redis_cache.together import together
from domain.errors import StorageError
from domain.ports import ChangeFeed, Changes
from domain.session import SessionId

# A pass that takes longer than this is given up; the next begins.
_MARK_LIFE_MS: Final = 60_000
_TRIES: Final = 4
# A heartbeat with this share of its life left was renewed lately, and saves a pass that nothing calls for.
_FRESH_SHARE: Final = 0.8
_OUT_OF_THE_WAY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class _Position:
    """Where the change log has been applied up to, in which epoch."""

    epoch: bytes
    at: int

    def __bytes__(self) -> bytes:
        return b"%s:%d" % (self.epoch.hex().encode(), self.at)

    @classmethod
    def parse(cls, stored: bytes) -> _Position | None:
        epoch, _, at = stored.partition(b":")
        try:
            parsed = cls(bytes.fromhex(epoch.decode()), int(at))
        except ValueError:  # UnicodeDecodeError is one
            return None
        return parsed if len(parsed.epoch) == EPOCH_BYTES else None


@dataclass(frozen=True, slots=True)
class _Marked:
    """A pass of one partition that has begun: Redis's time and the position from before the log was read."""

    keys: Keys
    nonce: str
    now_ms: int
    stored_position: bytes
    before: _Position | None

    def gap(self, log: Changes, since: int | None) -> bool:
        """Whether the log, asked from `since` on, cannot tell what changed after our position."""
        if self.before is None or log.changes is None:
            return True
        # Asked from an older position than ours, it did not look whether it has gone back behind ours.
        return self.before.at != since and self.before.at > log.position


class Relay:
    """Makes one pass at a time: every third of the bound at the latest, and soon after the feed says that something was written.

    Any number of processes may do so: of two passes that overlap, one is undone, and a pass that another made in time saves ours.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        server: Exchanges,
        scripts: Scripts,
        prefix: str,
        policy: CachePolicy,
        *,
        stats: CacheStats,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._server = server
        self._scripts = scripts
        self._prefix = prefix
        self._policy = policy
        self._stats = stats
        self._jitter = jitter
        self._bound_ms: Final = round(policy.heartbeat_s * 1000)
        self._clock = clock
        self._written = asyncio.Event()
        self._written_at_s = 0.0
        self._log = structlog.get_logger(__name__)
        self._in_step = True
        self.partitions: tuple[Keys, ...] = ()
        """The keys of the store behind the feed, by partition; none until it has told its identity once."""

    def keys_of(self, session_id: SessionId) -> Keys | None:
        """The keys of the session's partition; None while there are none."""
        partitions = self.partitions
        if len(partitions) == 1:
            return partitions[0]
        return partitions[session_id.int % len(partitions)] if partitions else None

    def listening(self) -> AbstractAsyncContextManager[None]:
        """While it lasts, `next_pass` comes soon after a write."""
        return self._feed.listening(self._hear)

    async def begin(self) -> None:
        """A pass now, unless there was one lately."""
        await self.catch_up(unless_newer_than_s=self._policy.heartbeat_s * (1 - _FRESH_SHARE))

    async def next_pass(self) -> None:
        """Waits until it is time for a pass, and makes it."""
        # A third of the bound at most, jittered so that processes do not meet.
        pause_s = self._policy.heartbeat_s / 3 * (0.8 + 0.2 * self._jitter())
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._written.wait()
        if not self._written.is_set():
            await self.begin()
            return
        # Writes gather a moment, and of several processes the first passes for all.
        await asyncio.sleep(self._policy.relay_gather_s * (0.25 + 0.75 * self._jitter()))
        self._written.clear()
        await self.catch_up(unless_newer_than_s=self._clock() - self._written_at_s)

    async def begin_anew(self) -> bool:
        """Forgets every position, so that every entry is a miss from now on. False if Redis did not acknowledge; the partitions of those
        nodes that did begin anew all the same."""
        forgotten = await together([self._server.forget([keys.position, keys.heartbeat]) for keys in self.partitions])
        passed = await self.catch_up()
        return bool(forgotten) and passed and not any(isinstance(answer, Unavailable) for answer in forgotten)

    async def catch_up(self, *, unless_newer_than_s: float = 0.0) -> bool:
        """One pass; True if the heartbeat was renewed, or if a pass began less than so long ago. Raises nothing of its own."""
        passed: bool | None = None
        try:
            if not self.partitions:
                store_id, count = await self._feed.store_id(), self._policy.partitions
                self.partitions = tuple(Keys.of(self._prefix, store_id, number, count) for number in range(count))
            for _ in range(_TRIES):
                passed = await self._pass(unless_newer_than_s)
                if passed is not None:
                    break
                await asyncio.sleep(_OUT_OF_THE_WAY_S * self._jitter())
        except StorageError:
            # The truth is away. The heartbeat runs out by itself.
            passed = False
        if not passed:
            self._stats.count("relay_passes_failed")
        if passed is not None and passed is not self._in_step:
            self._in_step = passed
            self._log.info("cache_in_step") if passed else self._log.warning("cache_out_of_step")
        return bool(passed)

    def _hear(self) -> None:
        self._written_at_s = self._clock()
        self._written.set()

    async def _pass(self, unless_newer_than_s: float) -> bool | None:
        """True if the cache is in step now, False if this cannot be told, None if another pass came in between."""
        began_s = self._stats.clock()
        marked = await together([self._mark(keys, unless_newer_than_s) for keys in self.partitions])
        behind = [mark for mark in marked if isinstance(mark, _Marked)]
        if not behind:
            if all(marked):
                self._stats.spared(began_s)
            return all(marked)
        positions = [mark.before.at for mark in behind if mark.before is not None]
        since = min(positions, default=None)
        log = await self._feed.changes_since(since)
        applied = await together([self._apply(mark, log, since) for mark in behind])
        if not all(mark for mark in marked) or False in applied:
            return False
        if None in applied:
            return None
        new_epoch = any(mark.gap(log, since) for mark in behind)
        self._stats.passed(began_s, changes=len(log.changes or ()), new_epoch=new_epoch)
        return True

    async def _mark(self, keys: Keys, unless_newer_than_s: float) -> _Marked | bool:
        """Begins a pass of one partition. True if it needs none, False if Redis does not say."""
        nonce = secrets.token_hex(16)
        # The heartbeat dates from when the last pass began, so what is left of it tells how long ago that was.
        fresh_ms = self._bound_ms - math.floor(1000 * unless_newer_than_s)
        names = [keys.mark, keys.position, keys.heartbeat]
        marked = await self._server.run(self._scripts.mark, names, [nonce, _MARK_LIFE_MS, fresh_ms])
        if isinstance(marked, Unavailable):
            return False
        now_ms, stored_position, needed = marked
        return _Marked(keys, nonce, now_ms, stored_position, _Position.parse(stored_position)) if needed else True

    async def _apply(self, marked: _Marked, log: Changes, since: int | None) -> bool | None:
        """Ends a pass of one partition: True if it was applied, False if Redis does not say, None if another pass came in between."""
        keys, before = marked.keys, marked.before
        gap = marked.gap(log, since)
        changes = () if gap else [change for change in log.changes or () if keys.holds(change.session_id)]
        epoch = secrets.token_bytes(EPOCH_BYTES) if gap or before is None else before.epoch
        after = _Position(epoch, log.position)
        applied = await self._server.run(
            self._scripts.apply,
            [keys.mark, keys.position, keys.heartbeat, *keys.entries_and_leases(change.session_id for change in changes)],
            [
                *(marked.nonce, marked.stored_position, bytes(after), after.epoch, marked.now_ms + self._bound_ms, self._policy.floor_ms),
                *(version_text(change.version) for change in changes),
            ],
        )
        if isinstance(applied, Unavailable):
            return False
        return True if applied == 1 else None
