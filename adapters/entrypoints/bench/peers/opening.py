"""Peers that are open for as long as a work takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from adapters.entrypoints.bench.peers.peer import Peer
from adapters.entrypoints.bench.stage import Stage
from domain.analytics import SessionAnalytics

P = TypeVar("P", bound=Peer)


class Opening(AsyncExitStack):
    """Opens peers at a stage, and closes them all at its end."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    async def peer(self, kind: type[P], numbers: Sequence[int] = (), analytics: SessionAnalytics | None = None) -> P:
        """One that holds these sessions, of which each has this document: the recorded one, if none is given."""
        peer = kind(self._stage.place, self._stage.truth)
        await peer.open()
        self.push_async_callback(peer.aclose)
        await peer.warm(numbers, analytics or self._stage.documents.recorded)
        return peer

    async def peers(self, kinds: Sequence[type[P]], numbers: Sequence[int] = (), analytics: SessionAnalytics | None = None) -> list[P]:
        """Several."""
        return [await self.peer(kind, numbers, analytics) for kind in kinds]
