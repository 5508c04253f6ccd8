"""`emg-sessions db`."""

from __future__ import annotations

from adapters.entrypoints.console import ExitCode, out
from adapters.postgres import migrations
from adapters.settings import Settings
from container import Container, resolve, upgrade_schema
from domain.errors import InvalidSettings


async def upgrade(app: Container, settings: Settings) -> ExitCode:
    """The whole command."""
    if settings.storage != "postgres":
        raise InvalidSettings("STORAGE=memory has no schema; set STORAGE=postgres")
    before, after, queue = await upgrade_schema(await resolve(app.engine), settings)
    if migrations.is_newer(after):
        out.print(f"the schema (revision {after}) is newer than this program ({migrations.HEAD}); nothing to do")
    elif before == after:
        out.print(f"the schema is up to date (revision {after})")
    else:
        out.print(f"the schema went from {before or 'nothing'} to revision {after}")
    if queue:
        out.print(f"the queue's schema got {len(queue)} of procrastinate's migrations, up to {queue[-1].removesuffix('.sql')}")
    return ExitCode.OK
