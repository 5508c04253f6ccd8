"""Trouble between a cache and its Redis, and the callers who have to live with it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final, Literal, TypeVar

from domain.analytics import SessionAnalytics
from domain.errors import StorageUnavailable
from domain.ports import AnalyticsAnswer, DeleteReceipt, DocumentAnswer, Freshness, SaveReceipt, SessionAnalyticsRepository, VersionAnswer
from domain.session import SessionId
from tests.proxies import Proxy

T = TypeVar("T")

Mode = Literal["well", "cut", "slow", "silent", "garbled"]
MODES: Final[tuple[Mode, ...]] = ("well", "cut", "slow", "silent", "garbled")

# No type of reply begins like this, so it is noticed, except in the middle of a payload: there the checksum has to.
_NOISE: Final = b"\0<html>502 Bad Gateway</html>\r\n"


class TroubledProxy(Proxy):
    """A proxy that misbehaves as `mode` says: "cut" ends connections and refuses new ones, "slow" passes answers on after `slow_s`,
    "silent" keeps them until the mode changes, "garbled" sends noise in their place.

    Requests always arrive whole: of a request that was changed on its way no protocol without checksums of its own can know.
    """

    slow_s: float = 0.02
    mode: Mode = "well"

    def set(self, mode: Mode) -> None:
        """From now on."""
        self.mode = mode
        if mode == "cut":
            for task in self._tasks:
                task.cancel()
        if mode == "silent":
            self.answering.clear()
        else:
            self.answering.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "cut":
            writer.close()
        else:
            await super()._connected(reader, writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 20):
                if not count:
                    await self.answering.wait()
                    if self.mode == "slow":
                        await asyncio.sleep(self.slow_s)
                    piece = _NOISE if self.mode == "garbled" else piece
                writer.write(piece)
                await writer.drain()


async def flap(proxy: TroubledProxy, *, dice: random.Random, well_s: float = 0.05, ill_s: float = 0.03) -> None:
    """Endless: well for a while, then ill in some way. Cancel it."""
    while True:
        proxy.set("well")
        await asyncio.sleep(well_s * (0.5 + dice.random()))
        proxy.set(dice.choice(MODES[1:]))
        await asyncio.sleep(ill_s * (0.5 + dice.random()))


class PatientRepository(SessionAnalyticsRepository):
    """A caller who does what errors and receipts ask for: whatever is unavailable is tried again, up to `tries` times, and after a write
    that the cache could not vouch for it waits for the bound. Whatever the port promises then holds, without exception.

    Writes may be tried again only where failures come before anything is done: else a second try would tell that nothing changed.
    """

    def __init__(self, inner: SessionAnalyticsRepository, *, bound_s: float, tries: int = 20) -> None:
        self._inner = inner
        self._bound_s = bound_s
        self._tries = tries

    async def get(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> AnalyticsAnswer | None:
        return await self._patiently(lambda: self._inner.get(session_id, freshness=freshness, at_least=at_least))

    async def get_many(
        self, session_ids: Collection[SessionId], *, freshness: Freshness = Freshness.BOUNDED
    ) -> dict[SessionId, AnalyticsAnswer]:
        return await self._patiently(lambda: self._inner.get_many(session_ids, freshness=freshness))

    async def get_document(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> DocumentAnswer | None:
        return await self._patiently(lambda: self._inner.get_document(session_id, freshness=freshness, at_least=at_least))

    async def get_version(
        self, session_id: SessionId, *, freshness: Freshness = Freshness.BOUNDED, at_least: int | None = None
    ) -> VersionAnswer | None:
        return await self._patiently(lambda: self._inner.get_version(session_id, freshness=freshness, at_least=at_least))

    async def save(self, analytics: SessionAnalytics) -> SaveReceipt:
        receipt = await self._patiently(lambda: self._inner.save(analytics))
        await self._wait_unless(receipt.fresh)
        return receipt

    async def delete(self, session_id: SessionId) -> DeleteReceipt | None:
        receipt = await self._patiently(lambda: self._inner.delete(session_id))
        await self._wait_unless(receipt is None or receipt.fresh)
        return receipt

    async def _wait_unless(self, fresh: bool) -> None:
        if not fresh:
            await asyncio.sleep(self._bound_s)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        for _ in range(self._tries - 1):
            try:
                return await call()
            except StorageUnavailable:
                continue
        return await call()
