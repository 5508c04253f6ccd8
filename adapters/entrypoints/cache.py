"""`emg-sessions cache`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import msgspec
from rich.table import Table

from adapters.entrypoints.console import ExitCode, fail, out
from adapters.entrypoints.tables import NOTHING, number, percent
from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.redis_cache.stats import hit_rate
from adapters.settings import Settings
from container import Container, resolve
from domain.errors import InvalidSettings


async def stats(app: Container, settings: Settings, *, as_json: bool) -> ExitCode:
    """The whole command `cache stats`."""
    repository = await _cache(app, settings)
    contents = await repository.contents()
    if isinstance(contents, Unavailable):
        fail(f"the cache cannot be asked ({contents.reason}); emg-sessions cache health says more", ExitCode.STORAGE)
    rate = hit_rate(contents.counts)
    if as_json:
        document = asdict(contents) | {"performance_stats": {"hit_rate": rate, **contents.counts}}
        del document["counts"]
        _write_json(document)
        return ExitCode.OK
    table = Table(show_header=False, pad_edge=False)
    table.add_row("hit rate", percent(rate))
    table.add_row("entries", str(contents.entries) if contents.entries is not None else "more than were looked at")
    table.add_row("memory an entry", f"{number(contents.entry_bytes_mean, '.0f')} bytes (of {contents.sampled_entries} sampled)")
    table.add_row("memory of the server", f"{contents.server_memory_bytes / 1e6:.1f} MB")
    for name, count in contents.counts.items():
        table.add_row(name.replace("_", " "), str(count))
    out.print(table)
    return ExitCode.OK


async def health(app: Container, settings: Settings, *, as_json: bool) -> ExitCode:
    """The whole command `cache health`."""
    repository = await _cache(app, settings)
    found = await repository.health()
    if as_json:
        _write_json(asdict(found))
    else:
        colour = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}[found.status]
        table = Table(show_header=False, pad_edge=False)
        table.add_row("status", f"[{colour}]{found.status}[/]" + (f": {found.reason.replace('_', ' ')}" if found.reason else ""))
        table.add_row("server", found.server or NOTHING)
        table.add_row("round trip", f"{number(found.round_trip_ms, '.2f')} ms")
        table.add_row("heartbeat", f"{number(found.heartbeat_age_s, '.2f')} s ago, of {settings.cache_staleness_bound_s:g} s allowed")
        table.add_row("breaker", found.breaker.replace("_", "-"))
        out.print(table)
        if found.status != "healthy":
            out.print("[dim]Reads are answered by the database meanwhile.[/]")
    return ExitCode.OK if found.status == "healthy" else ExitCode.SOME_FAILED


async def _cache(app: Container, settings: Settings) -> RedisCachedSessionAnalyticsRepository:
    repository = await resolve(app.session_analytics)
    if not isinstance(repository, RedisCachedSessionAnalyticsRepository):
        raise InvalidSettings(f"CACHE={settings.cache}: there is no cache to look at; set CACHE=redis")
    return repository


def _write_json(document: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    sys.stdout.buffer.flush()
