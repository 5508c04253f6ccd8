"""`emg-sessions cache`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from adapters.entrypoints.console import ExitCode, err, fail, out
from adapters.entrypoints.tables import NOTHING, duration, measured, number, percent
from adapters.redis_cache.findings import CacheContents
from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.session_analytics import RedisCachedSessionAnalyticsRepository
from adapters.redis_cache.stats import COUNTS_BY_SUBJECT, TIERS, compression_ratio, hit_rate
from adapters.settings import Settings
from container import Container, resolve
from domain.errors import InvalidSettings
from domain.session import parse_session_id
from services.cache_warming import warm_recent_sessions


async def stats(app: Container, settings: Settings, *, as_json: bool) -> ExitCode:
    """The whole command `cache stats`."""
    repository = await _cache(app, settings)
    contents = await repository.inspection.contents()
    if isinstance(contents, Unavailable):
        fail(f"the cache cannot be asked ({contents.reason}); emg-sessions cache health says more", ExitCode.STORAGE)
    if as_json:
        _write_json(contents.as_document())
    else:
        out.print(_stored(contents), _took(contents), _counted(contents), sep="\n")
    return ExitCode.OK


def _stored(contents: CacheContents) -> Table:
    table = Table(show_header=False, pad_edge=False)
    table.add_row("hit rate", percent(hit_rate(contents.counts)))
    table.add_row("entries", str(contents.entries) if contents.entries is not None else "more than were looked at")
    table.add_row("memory an entry", f"{number(contents.entry_bytes_mean, '.0f')} bytes (of {contents.sampled_entries} sampled)")
    table.add_row("compressed", f"{number(compression_ratio(contents.counts), '.1f')} times")
    table.add_row("memory of the server", f"{contents.server_memory_bytes / 1e6:.1f} MB")
    table.add_row("heartbeat", measured(contents.heartbeat_age_s, ".2f", " s ago"))
    sampled, outdated, beyond = (contents.counts[name] for name in ("sampled", "sampled_outdated", "sampled_beyond_bound"))
    table.add_row("outdated", f"{outdated} of {sampled} sampled, {beyond} beyond the bound")
    return table


def _took(contents: CacheContents) -> Table:
    """How long reads took, by who answered."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("answered by", "timed", "p50", "p95", "p99"):
        table.add_column(heading, justify="left" if heading == "answered by" else "right", no_wrap=True)
    for tier in TIERS:
        found = contents.histograms[f"latency_{tier}_s"]
        table.add_row(tier, str(found.count), *(duration(found.percentile_s(percent)) for percent in (50, 95, 99)))
    return table


def _counted(contents: CacheContents) -> Table:
    """What was counted, by subject. What never happened is left out, so that what did stands out."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    reasons = tuple(sorted(name for name in contents.counts if name.startswith("bypasses_")))
    for subject, names in COUNTS_BY_SUBJECT.items():
        happened = [name for name in names + (reasons if subject == "reads" else ()) if contents.counts.get(name)]
        for place, name in enumerate(happened):
            table.add_row("" if place else f"[bold]{subject}[/]", name.replace("_", " "), str(contents.counts[name]))
    return table


async def health(app: Container, settings: Settings, *, as_json: bool) -> ExitCode:
    """The whole command `cache health`."""
    repository = await _cache(app, settings)
    found = await repository.inspection.health()
    if as_json:
        _write_json(asdict(found))
    else:
        colour = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}[found.status]
        table = Table(show_header=False, pad_edge=False)
        table.add_row("status", f"[{colour}]{found.status}[/]" + (f": {_readable(found.reason)}" if found.reason else ""))
        table.add_row("server", found.server or NOTHING)
        table.add_row("round trip", measured(found.round_trip_ms, ".2f", " ms"))
        table.add_row("heartbeat", measured(found.heartbeat_age_s, ".2f", f" s ago, of {settings.cache_staleness_bound_s:g} s allowed"))
        table.add_row("relay", measured(found.relay_lag_s, ".2f", " s ago, as this process knows", before="in step "))
        table.add_row("breaker", found.breaker.replace("_", "-"))
        out.print(table)
        if found.status != "healthy":
            out.print("[dim]What Redis cannot answer is answered by the database meanwhile.[/]")
    return ExitCode.OK if found.status == "healthy" else ExitCode.SOME_FAILED


async def warm(app: Container, settings: Settings, *, hours: float) -> ExitCode:
    """The whole command `cache warm`."""
    repository = await _cache(app, settings)
    registry = await resolve(app.session_registry)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("reading", total=None)
        count = await warm_recent_sessions(
            repository, registry, hours, progress=lambda done, of: progress.update(bar, completed=done, total=of)
        )
    out.print(f"{count} session{'' if count == 1 else 's'} of the last {hours:g} hours read")
    return ExitCode.OK


async def inspect(app: Container, settings: Settings, *, session_id: str, as_json: bool) -> ExitCode:
    """The whole command `cache inspect`."""
    wanted = parse_session_id(session_id)
    facts = await (await _cache(app, settings)).inspection.entry(wanted)
    if isinstance(facts, Unavailable):
        fail(f"the cache cannot be asked ({facts.reason}); emg-sessions cache health says more", ExitCode.STORAGE)
    if as_json:
        _write_json(asdict(facts))
        return ExitCode.OK
    table = Table(show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("key", facts.key)
    table.add_row("holds", facts.found)
    table.add_row("believed", "yes" if facts.believed else "no: the next read asks the database")
    table.add_row("version", NOTHING if facts.version is None else str(facts.version))
    table.add_row("age", measured(facts.age_s, ".1f", " s"))
    table.add_row("life left", measured(facts.ttl_s, ".0f", " s"))
    table.add_row("payload", NOTHING if facts.payload_bytes is None else f"{facts.payload_bytes} bytes, {facts.coding}")
    table.add_row("lease", NOTHING if facts.lease_s is None else f"held for another {facts.lease_s:.1f} s at most")
    out.print(table)
    return ExitCode.OK


async def invalidate(app: Container, settings: Settings, *, session_ids: Sequence[str], everything: bool) -> ExitCode:
    """The whole command `cache invalidate`."""
    repository = await _cache(app, settings)
    if everything == bool(session_ids):
        raise InvalidSettings("name sessions, or --all for everything")
    wanted = [parse_session_id(session_id) for session_id in session_ids]
    done = [await repository.forget_everything()] if everything else [await repository.forget(session_id) for session_id in wanted]
    if not all(done):
        fail("the cache did not acknowledge; emg-sessions cache health says more", ExitCode.STORAGE)
    out.print("every entry is distrusted from now on" if everything else f"{len(done)} dropped")
    return ExitCode.OK


async def _cache(app: Container, settings: Settings) -> RedisCachedSessionAnalyticsRepository:
    repository = await resolve(app.session_analytics)
    if not isinstance(repository, RedisCachedSessionAnalyticsRepository):
        raise InvalidSettings(f"CACHE={settings.cache}: there is no cache to look at; set CACHE=redis")
    return repository


def _write_json(document: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    sys.stdout.buffer.flush()


def _readable(reason: str) -> str:
    """A reason that is a name, such as breaker_open, as words; one that is a sentence as it is, for it may name a setting."""
    return reason if " " in reason else reason.replace("_", " ")
