"""Which leases somebody holds. A lease key may also be free and keep a floor, for as long as the bound."""

from __future__ import annotations

from typing import Any

from adapters.redis_cache.leases import NOBODY


async def held_leases(raw: Any, prefix: str) -> list[bytes]:
    """The names of the leases under a prefix that somebody holds."""
    names = [name async for name in raw.scan_iter(match=f"{prefix}:*:l:*", count=1000)]
    return [name for name in names if not (await raw.get(name) or NOBODY).startswith(NOBODY)]
