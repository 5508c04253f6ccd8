"""Commands that started servers of their own, and are killed: the servers end too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.servers import server_folder, wait_until_gone

_PROGRAM = Path(sys.executable).with_name("emg-sessions")
_START_S = 90.0
_END_S = 60.0


def servers_below(folder: Path) -> dict[str, int]:
    """The servers that run in a folder, by the names of their programs; neither what they forked nor what makes their data."""
    found: dict[str, int] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            arguments = process.cmdline()
            name = Path(arguments[0]).name if arguments else ""
            if name in {"postgres", "valkey-server"} and any(_is_home(argument, folder) for argument in arguments[1:]):
                found[name] = process.pid
    return found


def watched() -> set[int]:
    """The servers that a process of ours looks after."""
    found: set[int] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            arguments = process.cmdline()
            if len(arguments) > 2 and "adapters.embedded.watch" in arguments[2]:
                found.add(int(arguments[-1]))
    return found


def _is_home(argument: str, folder: Path) -> bool:
    return argument.startswith(str(folder)) and argument.endswith(("/postgresql/data", "/valkey"))


@pytest.mark.parametrize("arguments", [("bench", "--quick", "--only", "misses"), ("demo",)], ids=["bench", "demo"])
def test_the_servers_of_a_killed_command_end(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with server_folder() as folder:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment |= {"TMPDIR": str(folder), "DATA_DIR": str(folder / "data")}
        command = subprocess.Popen(
            [_PROGRAM, *arguments], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + _START_S
            # A kill between the start of a server and that of its watch leaves the server to its next user.
            while len(servers := servers_below(folder)) < 2 or not set(servers.values()) <= watched():
                assert command.poll() is None, "it ended by itself"
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            command.send_signal(signal.SIGKILL)
            command.wait()
        for pid in servers.values():
            wait_until_gone(pid, _END_S)
        assert servers_below(folder) == {}
