"""A person at a terminal is told what a command waits for; a program that reads its output is not."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from adapters.entrypoints import console
from tests.cli.conftest import PROGRAM, emg_sessions


def on_a_terminal(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    """What a command shows on its terminal, all of it."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", **environment},
        stdin=end,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:
        pass  # As Linux says that a terminal has no other end any more.
    finally:
        os.close(terminal)
    process.wait(timeout=60)
    return shown.decode()


def test_the_first_start_of_postgresql_is_said_on_a_terminal_and_nowhere_else(tmp_path: Path, data_folder: Path) -> None:
    unknown = ("show", "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10")
    assert "starting PostgreSQL …" in on_a_terminal(tmp_path, {"DATA_DIR": str(data_folder), "CACHE": "none"}, *unknown)
    piped = emg_sessions(tmp_path, {"DATA_DIR": str(data_folder / "second"), "CACHE": "none"})(*unknown)
    assert "…" not in piped.out + piped.err


@pytest.mark.parametrize(("wondering_s", "terminal", "said"), [(0, True, True), (60, True, False), (0, False, False)])
async def test_only_a_wait_that_lasts_is_said(monkeypatch: pytest.MonkeyPatch, wondering_s: float, terminal: bool, said: bool) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=file, force_terminal=terminal, color_system=None))
    monkeypatch.setattr(console, "_WONDERING_S", wondering_s)
    with console.waiting("starting a server"):
        for _ in range(3):
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert file.getvalue() == ("starting a server …\n" if said else "")
