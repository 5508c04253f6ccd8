"""What all commands share: where output goes, how a command runs and how it fails."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from adapters.entrypoints.program import as_called
from adapters.logs import configure_logs
from adapters.settings import Settings, load_settings
from container import Container, running
from domain.errors import EmgSessionsError, InvalidSessionId, InvalidSettings, StorageError

T = TypeVar("T")
_WONDERING_S: Final = 0.5
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# Results go to standard output and nothing else does, so that it can be piped; progress and complaints go to standard error.
out: Final = Console(highlight=False)
err: Final = Console(stderr=True, highlight=False)


class ExitCode(IntEnum):
    """How a command ends, for scripts."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    STORAGE = 3
    INTERNAL = 70
    INTERRUPTED = 130


def run(command: Callable[[Container, Settings], Awaitable[T]], *, loop_factory: LoopFactory | None = None, **given: object) -> T:
    """Runs a command with the container open. A failure ends in one sentence on standard error and an exit code, not in a traceback.

    Settings that are `given`, by options of the command, go before the environment's.
    """
    gc.freeze()  # What has been imported stays, so the collector need not look through it, neither now nor when the process ends.
    gc.enable()
    settings: Settings | None = None
    try:
        settings = load_settings(**given)
        configure_logs(settings.log_level, settings.log_format)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(_within(settings, command))
    except (InvalidSettings, InvalidSessionId) as error:
        fail(str(error), ExitCode.USAGE)
    except StorageError as error:
        fail(str(error), ExitCode.STORAGE)
    except EmgSessionsError as error:
        fail(str(error), ExitCode.SOME_FAILED)
    except KeyboardInterrupt:
        fail("interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.OK) from None
    except typer.Exit:
        raise
    except Exception as error:
        if (settings.log_level if settings is not None else os.environ.get("LOG_LEVEL", "").lower()) == "debug":
            raise
        # The class only: the text of an unforeseen error may quote what it stumbled over.
        fail(f"unforeseen {type(error).__name__}; run again with LOG_LEVEL=debug to see where, and report it", ExitCode.INTERNAL)


async def _within(settings: Settings, command: Callable[[Container, Settings], Awaitable[T]]) -> T:
    async with running(settings, waiting=waiting) as app:
        return await command(app, settings)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says on a terminal what is waited for, if it takes long enough to wonder."""
    timer = asyncio.get_running_loop().call_later(_WONDERING_S, lambda: err.print(f"[dim]{what} …[/]")) if err.is_terminal else None
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


def fail(message: str, code: ExitCode) -> NoReturn:
    """Says why, and ends the command."""
    err.print(f"[bold red]error:[/] {escape(as_called(message))}", soft_wrap=True)
    raise typer.Exit(code)
