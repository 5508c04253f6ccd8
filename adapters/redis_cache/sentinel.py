"""The primary that Sentinel names now: asked for whenever a connection is made, so that a failover needs nobody's attention."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from adapters.redis_cache.places import Place, places
from adapters.redis_cache.policy import CachePolicy

SCHEME: Final = "redis+sentinel"
FORM: Final = "redis+sentinel://user:password@host1:26379,host2:26379/service/0"

_PORT: Final = 26379
_OPTIONS: Final = {"sentinel_username", "sentinel_password"}


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where the sentinels are, and what they watch. User and password are of the servers they watch; of theirs, `sentinel_auth`."""

    sentinels: tuple[Place, ...]
    service: str
    db: int
    auth: dict[str, str] = field(repr=False)
    sentinel_auth: dict[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> SentinelAddress:
        """From a URL of the form above; `?sentinel_username=…&sentinel_password=…` where the sentinels want them. Raises ValueError."""
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
        service, _, db = parts.path.strip("/").partition("/")
        if parts.scheme != SCHEME or not service or not options.keys() <= _OPTIONS:
            raise ValueError("no address of sentinels")
        credentials = {"username": parts.username, "password": parts.password}
        return cls(
            sentinels=places(parts.netloc.rpartition("@")[2], _PORT),
            service=unquote(service),
            db=int(db or 0),
            auth={name: unquote(value) for name, value in credentials.items() if value},
            sentinel_auth={name.removeprefix("sentinel_"): values[0] for name, values in options.items()},
        )


class _PrimaryConnection(SentinelManagedConnection):
    """A connection to the primary, which must say itself that it is one: sentinels that were cut off name the old one for a while."""

    async def connect_to(self, address: Any) -> None:
        await super().connect_to(address)  # type: ignore[no-untyped-call]
        role: Any = [b"master"]
        with suppress(ResponseError):  # Who may not ask believes the sentinel.
            await self.send_command("ROLE")
            role = await self.read_response()
        if not isinstance(role, list) or role[:1] != [b"master"]:
            await self.disconnect()
            raise RedisConnectionError("what Sentinel named is no primary")


class _PrimaryPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """redis-py's pool for Sentinel raises when it has no free connection; this one waits with a bound."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:  # The end, and not a change of the primary.
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


def sentinel_pool(url: str, policy: CachePolicy, **connection: Any) -> redis.ConnectionPool:
    """A pool of connections to the primary. Raises ValueError for a URL that is none."""
    address = SentinelAddress.parse(url)
    # Whoever connects asks one sentinel after the other, and has connect_s for all of it.
    each_s = policy.connect_s / (len(address.sentinels) + 1)
    asking = {"socket_timeout": each_s, "socket_connect_timeout": each_s, "retry": Retry(NoBackoff(), 0), **address.sentinel_auth}
    sentinel = Sentinel(address.sentinels, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    return _PrimaryPool(  # type: ignore[no-untyped-call]
        address.service, sentinel, connection_class=_PrimaryConnection, db=address.db, **address.auth, **connection
    )
