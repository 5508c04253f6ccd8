"""Who may store an entry. A lease is a key with a token and an end; every write voids it, so that what its holder loaded before the write
is refused. Storing by version alone would not do: after a write and an eviction there is no version left to compare with.

Every write is told to Redis more than once, by its writer and by the relay. So that the second telling does not void the lease of who came
after the first, the lease key keeps the told version as a *floor*: what was told had been committed, so whoever gets the lease afterwards
loads that version or a newer one. A lease is voided only by versions above its floor. If there is nothing to load, the floor is a version
that the deletion has at least, and becomes that of the entry that says so.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from adapters.redis_cache.entry import Entry, pack, version_text
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.lua import Scripts
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.server import Exchanges, Unavailable
from domain.session import SessionId

T = TypeVar("T")

# Of a damaged entry not even the version can be trusted.
_WHATEVER_ITS_VERSION: Final = b""
# Redis has the question and may answer it yet, when nobody listens any more: when it thaws, for one.
_MAY_BE_GRANTED_YET: Final = ("timeout", "connection")

Grant = Literal["lease", "hit", "busy", "unavailable"]

TOKEN_CHARACTERS: Final = 32
NOBODY: Final = b"0" * TOKEN_CHARACTERS
"""The token in a lease key that is held by nobody, and keeps a floor."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What asking for leases brought: for each session "lease" (ours: load and fill), "hit" (somebody has filled: read again), "busy"
    (somebody is loading) or "unavailable" (Redis does not say)."""

    token: str
    grants: dict[SessionId, Grant]
    floors: dict[SessionId, int] = field(default_factory=dict)
    """For each lease that is ours, a version that the truth has by now; 0: none is known."""

    @property
    def held(self) -> list[SessionId]:
        """The sessions that are ours to fill."""
        return [session_id for session_id, grant in self.grants.items() if grant == "lease"]


class Leases:
    """Takes leases, fills under them, gives them back and voids them. Every method is one exchange with Redis."""

    def __init__(
        self,
        server: Exchanges,
        scripts: Scripts,
        policy: CachePolicy,
        *,
        new_token: Callable[[], str] = lambda: secrets.token_hex(TOKEN_CHARACTERS // 2),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._server = server
        self._scripts = scripts
        self._policy = policy
        self._new_token = new_token
        self._jitter = jitter
        self._under_way: set[asyncio.Task[Any]] = set()
        self._closing = asyncio.Event()

    async def acquire(self, keys: Keys, session_ids: Sequence[SessionId], epoch: bytes, at_least: int = 0) -> Lease:
        """Asks for the leases of these sessions. `at_least` is the version that would spare the loading."""
        token = self._new_token()
        wanted = version_text(at_least)
        arguments: list[bytes | str | int] = [token, round(self._policy.lease_s * 1000), epoch, *(wanted for _ in session_ids)]
        asking = self._own(self._server.run(self._scripts.acquire, keys.entries_and_leases(session_ids), arguments))
        try:
            answers = await asyncio.shield(asking)
        except asyncio.CancelledError:
            # Redis may be granting them to somebody who is no longer there. They are given back after its answer: on another connection
            # giving back might overtake asking, and the leases would stay.
            self._release_later(keys, session_ids, token, after=asking)
            raise
        if isinstance(answers, Unavailable):
            if answers.reason in _MAY_BE_GRANTED_YET:
                self._release_later(keys, session_ids, token)
            return Lease(token, dict.fromkeys(session_ids, "unavailable"))
        lease = Lease(token, {})
        for session_id, answer in zip(session_ids, answers, strict=True):
            if answer in (b"hit", b"busy"):
                lease.grants[session_id] = answer.decode()
            else:
                lease.grants[session_id] = "lease"
                lease.floors[session_id] = int(answer, 16)
        return lease

    async def fill(self, keys: Keys, lease: Lease, entries: Sequence[Entry]) -> list[bool]:
        """Stores entries under the leases held; for each whether it was accepted. The leases are used up."""
        values: list[bytes | int] = []
        for entry in entries:
            values += [pack(entry), self._ttl_ms(entry)]
        names = keys.entries_and_leases([entry.session_id for entry in entries])
        accepted = await self._server.run(self._scripts.fill, names, [lease.token, *values])
        if isinstance(accepted, Unavailable):
            # If it was not lost it may still be accepted, unless giving back overtakes it: either is safe, and nobody has to wait.
            self._release_later(keys, [entry.session_id for entry in entries], lease.token)
            return [False for _ in entries]
        return [answer == 1 for answer in accepted]

    async def invalidate(self, keys: Keys, session_id: SessionId, version: int | None) -> bool:
        """A write was committed: drops an entry older than its version (None: any), and voids the lease. Whether Redis acknowledged."""
        wanted = _WHATEVER_ITS_VERSION if version is None else version_text(version)
        names = keys.entries_and_leases([session_id])
        return await self._server.run(self._scripts.invalidate, names, [self._policy.floor_ms, wanted]) == 1

    def give_back(self, keys: Keys, lease: Lease, session_ids: Sequence[SessionId]) -> None:
        """Gives leases back unused, in the background: it is called where a caller was cancelled or failed, and cannot wait."""
        self._release_later(keys, session_ids, lease.token)

    async def aclose(self) -> None:
        """Waits until the leases given back are back, or Redis has failed to take them."""
        self._closing.set()
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _release_later(self, keys: Keys, session_ids: Sequence[SessionId], token: str, *, after: asyncio.Task[Any] | None = None) -> None:
        async def release() -> None:
            if after is not None:
                await asyncio.wait([after])
            clock = asyncio.get_running_loop().time
            give_up_at = clock() + self._policy.lease_s
            names = [keys.lease(session_id) for session_id in session_ids]
            while isinstance(await self._server.run(self._scripts.release, names, [token]), Unavailable):
                if self._closing.is_set() or clock() > give_up_at:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._policy.open_s):
                        await self._closing.wait()

        self._own(release())

    def _own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _ttl_ms(self, entry: Entry) -> int:
        life_s = self._policy.absent_ttl_s if entry.payload is None else self._policy.ttl_s
        return max(1, round(1000 * life_s * (1 - self._policy.ttl_jitter * self._jitter())))
