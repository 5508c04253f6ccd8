"""Rate limits: in a Redis that all processes share, or by each process for itself."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisClusterStorage, RedisSentinelStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from domain.ports import Allowance, RateLimit

_WINDOW_S: Final = 60


@dataclass(frozen=True, slots=True)
class SharedCounts:
    """The Redis that counts for all processes. An answer that takes longer than `deadline_s` is none."""

    redis_url: str
    key_prefix: str
    deadline_s: float


class PerMinute(RateLimit):
    """So many a minute for each caller, counted from the first. If the shared counts fail, each process counts for itself meanwhile."""

    def __init__(self, name: str, per_minute_max: int, shared: SharedCounts | None = None) -> None:
        self._name = name
        self._item = RateLimitItemPerMinute(per_minute_max, namespace=name)
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._redis = None if shared is None else _redis(shared)
        self._shared = None if self._redis is None else FixedWindowRateLimiter(self._redis)
        self._failures = _failures(self._redis)
        self._deadline_s = shared.deadline_s if shared else 0.0
        self._log = structlog.get_logger(__name__)
        self._shared_works = True

    async def take(self, caller: str) -> Allowance:
        """See the port."""
        # Callers are people: their names have no business in Redis.
        key = hashlib.sha256(caller.encode()).hexdigest()[:32]
        if self._shared is not None:
            try:
                async with asyncio.timeout(self._deadline_s):
                    allowance = await self._take(self._shared, key)
            except self._failures:
                self._note(works=False)
            else:
                self._note(works=True)
                return allowance
        return await self._take(self._own, key)

    async def aclose(self) -> None:
        """Closes the connections to Redis."""
        if self._redis is not None:
            bridge: Any = self._redis.bridge  # Which kind it is, is our choice.
            await bridge.storage.aclose()
            if isinstance(self._redis, RedisSentinelStorage):
                for sentinel in bridge.sentinel.sentinels:
                    await sentinel.aclose()

    async def _take(self, limiter: FixedWindowRateLimiter, key: str) -> Allowance:
        granted = await limiter.hit(self._item, key)
        reset_at, remaining = await limiter.get_window_stats(self._item, key)
        reset_s = min(_WINDOW_S, max(1, math.ceil(reset_at - time.time())))
        return Allowance(granted, limit=self._item.amount, remaining=remaining, reset_s=reset_s, window_s=_WINDOW_S)

    def _note(self, *, works: bool) -> None:
        if works is not self._shared_works:
            self._shared_works = works
            self._log.info("rate_limit_shared", limit=self._name) if works else self._log.warning("rate_limit_not_shared", limit=self._name)


def _redis(shared: SharedCounts) -> RedisStorage:
    scheme, separator, rest = shared.redis_url.partition("://")
    timeouts = _timeouts(shared.deadline_s)
    common: dict[str, Any] = {"wrap_exceptions": True, "implementation": "redispy", "key_prefix": f"{shared.key_prefix}:limits"}
    if scheme == "redis+sentinel":
        places, _, path = rest.partition("?")[0].partition("/")
        service, _, db = path.partition("/")
        # Else the library would tell the sentinels the servers' password.
        asking: dict[str, Any] = {"username": None, "password": None, **timeouts, **_sentinel_auth(shared.redis_url)}
        return RedisSentinelStorage(
            f"async+{scheme}://{places}/{service}", use_replicas=False, sentinel_kwargs=asking, db=int(db or 0), **timeouts, **common
        )
    if scheme in ("redis+cluster", "rediss+cluster"):
        places, _, options = rest.partition("?")
        tls: dict[str, Any] = {"ssl": True, **dict(parse_qsl(options))} if scheme.startswith("rediss") else {}
        # A node that hangs is given up while there is time to ask who took its place. Cut off by the deadline, the client would not even
        # look for that, and keep to the node.
        timeouts = _timeouts(shared.deadline_s / 2)
        return RedisClusterStorage(f"async+redis+cluster://{places.rstrip('/').removesuffix('/0')}", **tls, **timeouts, **common)
    return RedisStorage(f"async+{'redis+unix' if scheme == 'unix' else scheme}{separator}{rest}", **timeouts, **common)


def _timeouts(seconds: float) -> dict[str, Any]:
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds}


def _failures(storage: RedisStorage | None) -> tuple[type[Exception], ...]:
    """What the shared counts fail with. That no node answers, or none has the slot, is told by an error that the library does not know."""
    of_clusters = (storage.bridge.dependency.RedisClusterException,) if isinstance(storage, RedisClusterStorage) else ()
    return (StorageError, OSError, *of_clusters)  # TimeoutError is an OSError.


def _sentinel_auth(url: str) -> dict[str, str]:
    return {name.removeprefix("sentinel_"): value for name, value in parse_qsl(urlsplit(url).query)}
