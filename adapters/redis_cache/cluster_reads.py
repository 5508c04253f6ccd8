"""The coalesced reads of a cluster: a connection for each partition, to whichever node has its slot."""

from __future__ import annotations

import asyncio

from adapters.redis_cache.cluster import ClusterServer
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.reads import CoalescedReads
from adapters.redis_cache.server import Moved
from adapters.redis_cache.stats import CacheStats


class PartitionReads(CoalescedReads):
    """Leaves a node when the slot goes to another one; whoever waits for an answer then does without Redis, once."""

    def __init__(self, cluster: ClusterServer, slot: int, policy: CachePolicy, stats: CacheStats) -> None:
        self._owner = cluster.a_node
        super().__init__(self._owner.client, self._owner.breaker, policy, stats)
        self._cluster = cluster
        self._slot = slot
        cluster.follow(self._turn)

    def _kept_out(self) -> str | None:
        owner = self._cluster.owner(self._slot)
        if owner is None:
            self._cluster.look_again()
            return "reconnecting"
        if owner is not self._owner:
            if self._connecting is not None:  # Still to the last one: nobody waits for that.
                return "reconnecting"
            self._owner, self._client, self._breaker, self._hung = owner, owner.client, owner.breaker, False
        return super()._kept_out()

    def _refused(self, error: str) -> None:
        match error.split():
            case ["MOVED", slot, place] if slot.isdecimal() and place.rpartition(":")[2].isdecimal():
                host, _, port = place.rpartition(":")
                self._cluster.moved(Moved("response", int(slot), host, int(port)), self._owner)
            case ["EXECABORT" | "CLUSTERDOWN", *_]:  # Of what left in a MULTI nobody says where it should have gone.
                self._cluster.look_again()

    def _turn(self) -> None:
        # Not now: an answer of the connection may be just what has told of the move.
        asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        if self._transport is not None and self._cluster.owner(self._slot) is not self._owner:
            self._fail("connection", to_connect=False, blame=False)
