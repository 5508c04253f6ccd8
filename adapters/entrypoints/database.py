"""`emg-sessions db`."""

from __future__ import annotations

from adapters.entrypoints.console import ExitCode, out
from adapters.postgres import migrations
from adapters.settings import Settings
from container import Container, resolve
from domain.errors import InvalidSettings


async def upgrade(app: Container, settings: Settings) -> ExitCode:
    """The whole command."""
    if settings.storage != "postgres":
        raise InvalidSettings("STORAGE=memory has no schema; set STORAGE=postgres")
    before, after = await migrations.upgrade(await resolve(app.engine))
    if before == after:
        out.print(f"the schema is up to date (revision {after})")
    else:
        out.print(f"the schema went from {before or 'nothing'} to revision {after}")
    return ExitCode.OK
