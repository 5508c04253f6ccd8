"""Looks at the cache from outside: for operators, never on the path of a read. Nothing here walks a whole keyspace."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import Any, Final, cast

import redis.asyncio as redis

from adapters.redis_cache.breaker import REFUSED, BreakerState
from adapters.redis_cache.entry import unpack
from adapters.redis_cache.findings import CacheContents, CacheHealth, EntryFacts, Status
from adapters.redis_cache.leases import NOBODY
from adapters.redis_cache.near import NearCache
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.relay import Relay
from adapters.redis_cache.server import CacheServer, Exchanges, Unavailable
from adapters.redis_cache.stats import CacheStats, totals
from adapters.redis_cache.together import together
from domain.session import SessionId

_SCAN_PAGES_MAX: Final = 20
_SCAN_PAGE: Final = 500
_MEASURED_MAX: Final = 100


class Inspection:
    """Looks at one process's cache and at what all of them have in Redis."""

    def __init__(self, server: Exchanges, relay: Relay, near: NearCache, policy: CachePolicy, stats: CacheStats) -> None:
        self._server = server
        self._relay = relay
        self._near = near
        self._policy = policy
        self._stats = stats

    def bounds(self) -> dict[str, int | float]:
        """What is promised and what is held in this process, with the bounds of both; by name, units last."""
        return {
            "staleness_bound_s": self._policy.heartbeat_s,
            "ttl_hours": self._policy.ttl_s / 3600.0,
            "near_entries": len(self._near),
            "near_entries_max": self._policy.near_entries_max,
            "near_bytes": self._near.bytes_held,
        }

    async def entry(self, session_id: SessionId) -> EntryFacts | Unavailable:
        """A session's entry as it lies in Redis: the entry, its remaining life, its lease and the heartbeat."""
        keys = self._relay.keys_of(session_id)
        if keys is None:
            return Unavailable("not_in_step")
        name = keys.entry(session_id)
        values = await self._server.read([name, keys.heartbeat, keys.lease(session_id)])
        ttl_ms = await self._server.on(name, lambda client: client.pttl(name))
        lease_ms = await self._server.on(name, lambda client: client.pttl(keys.lease(session_id)))
        if isinstance(values, Unavailable) or isinstance(ttl_ms, Unavailable) or isinstance(lease_ms, Unavailable):
            return next(value for value in (values, ttl_ms, lease_ms) if isinstance(value, Unavailable))
        value, epoch, lease = values
        if lease is not None and lease.startswith(NOBODY):
            lease_ms = -2  # It keeps a floor, and is free to be taken.
        entry = None if value is None else unpack(value, session_id)
        ttl_s, lease_s = (ms / 1000 if ms >= 0 else None for ms in (ttl_ms, lease_ms))
        if entry is None:
            return EntryFacts(name, "nothing" if value is None else "damaged", False, None, None, ttl_s, None, None, lease_s)
        return EntryFacts(
            key=name,
            found="absent" if entry.payload is None else "analytics",
            believed=entry.epoch == epoch,
            version=entry.version,
            age_s=time.time() - entry.filled_at_ms / 1000,
            ttl_s=ttl_s,
            coding=entry.coding,
            payload_bytes=len(entry.payload or b""),
            lease_s=lease_s,
        )

    async def health(self) -> CacheHealth:
        """Asks every node for a sign of life, and for the heartbeats, each once. Of several round trips the longest is told."""
        lag_s = self._stats.relay_lag_s
        nodes = await self._server.nodes()
        round_trips = await together([_round_trip_ms(node) for node in nodes])
        answered = [(node, ms) for node, ms in zip(nodes, round_trips, strict=True) if isinstance(ms, float)]
        if not answered:
            failure = next((found.reason for found in round_trips if isinstance(found, Unavailable)), "connection")
            if any(node.breaker.refused for node in nodes):
                failure = REFUSED
            return CacheHealth("unhealthy", failure, None, None, lag_s(), self._server.breaker_state.value, None)
        node, _ = answered[0]
        information = await node.ask(lambda: node.client.info("server"))
        version = None if isinstance(information, Unavailable) else _server_version(information)
        if version is not None and len(nodes) > 1:
            version += f" on {len(nodes)} nodes"
        age_s = await self._heartbeat_age_s()
        reason: str | None = None
        if len(answered) < len(nodes):
            silent = len(nodes) - len(answered)
            reason = f"{silent} of {len(nodes)} nodes {'does' if silent == 1 else 'do'} not answer"
        elif age_s is None or self._server.breaker_state is not BreakerState.CLOSED:
            reason = "not in step with the database"
        status: Status = "healthy" if reason is None else "degraded"
        return CacheHealth(status, reason, max(ms for _, ms in answered), age_s, lag_s(), self._server.breaker_state.value, version)

    async def contents(self) -> CacheContents | Unavailable:
        """What is stored, counted by SCAN with a bound for each node, and a sample of it measured; and what all processes counted, with
        this process's counts added first."""
        if not self._relay.partitions:
            return Unavailable("not_in_step")
        partitions = self._relay.partitions
        await self._stats.share(self._server, *partitions)
        nodes = await self._server.nodes()
        scanned = await together([_some_entries(node, partitions[0].entries_pattern) for node in nodes])
        entries = sorted({name for names, _ in scanned for name in names})
        sizes: list[int] = []
        for name in entries[:_MEASURED_MAX]:
            size = await self._server.on(name, partial(_memory_usage, name=name))
            if isinstance(size, int):
                sizes.append(size)
        memory = [used for used in await together([_used_memory_bytes(node) for node in nodes]) if used is not None]
        shared: Counter[str] = Counter()
        told = await together([self._server.on(keys.counters, partial(_hash, name=keys.counters)) for keys in partitions])
        for integers in told:
            if not isinstance(integers, Unavailable):
                shared.update(integers)
        failures = [integers for integers in told if isinstance(integers, Unavailable)]
        if not memory or len(failures) == len(told):
            return next(iter(failures), Unavailable("connection"))
        counts, histograms = totals(shared)
        return CacheContents(
            entries=len(entries) if all(complete for _, complete in scanned) else None,
            sampled_entries=len(sizes),
            entry_bytes_mean=sum(sizes) / len(sizes) if sizes else None,
            server_memory_bytes=sum(memory),
            heartbeat_age_s=await self._heartbeat_age_s(),
            counts=counts,
            histograms=histograms,
            this_process=self._stats.snapshot().gauges,
        )

    async def _heartbeat_age_s(self) -> float | None:
        """By what is left of its life: it is renewed for the bound, from before the relay looked. Of several the oldest; None if one
        ended."""
        ages_s: list[float] = []
        for keys in self._relay.partitions:
            left_ms = await self._server.on(keys.heartbeat, partial(_pttl, name=keys.heartbeat))
            if not isinstance(left_ms, int) or left_ms < 0:
                return None
            ages_s.append(max(0.0, self._policy.heartbeat_s - left_ms / 1000))
        return max(ages_s, default=None)


async def _round_trip_ms(node: CacheServer) -> float | Unavailable:
    async def ping() -> float:
        begin = time.perf_counter()
        await node.client.ping()
        return (time.perf_counter() - begin) * 1000

    # The first exchange may have to connect; the second one tells the round trip.
    await node.ask(ping)
    return await node.ask(ping)


async def _some_entries(node: CacheServer, pattern: str) -> tuple[set[bytes], bool]:
    """The names of entries on a node, and whether these are all."""
    names: set[bytes] = set()
    cursor: int = 0
    for _ in range(_SCAN_PAGES_MAX):
        page = await node.ask(partial(_scan_page, node.client, cursor, pattern))
        if isinstance(page, Unavailable):
            return names, False
        cursor, found = page
        names.update(found)
        if cursor == 0:
            return names, True
    return names, False


async def _used_memory_bytes(node: CacheServer) -> int | None:
    memory = await node.ask(lambda: node.client.info("memory"))
    return None if isinstance(memory, Unavailable) else int(memory["used_memory"])


async def _pttl(client: redis.Redis, name: str) -> int:
    return await client.pttl(name)


async def _memory_usage(client: redis.Redis, name: bytes) -> int | None:
    return await client.memory_usage(name, samples=0)


async def _scan_page(client: redis.Redis, cursor: int, pattern: str) -> tuple[int, list[bytes]]:
    return cast("tuple[int, list[bytes]]", await client.scan(cursor, match=pattern, count=_SCAN_PAGE))


async def _hash(client: redis.Redis, name: str) -> dict[str, int]:
    stored = cast("dict[bytes, bytes]", await client.hgetall(name))
    return {field.decode(): int(count) for field, count in stored.items()}


def _server_version(information: dict[str, Any]) -> str:
    if "valkey_version" in information:
        return f"Valkey {information['valkey_version']}"
    return f"Redis {information.get('redis_version', 'of unknown version')}"
