"""What goes wrong before a command has begun is told in a line: an early Ctrl-C, a data folder that cannot be, a narrow encoding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adapters.c3d.synthesis import synthesise
from tests.cli.conftest import Command, emg_sessions

OK, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

# Ctrl-C at the moment when a module begins to be imported.
INTERRUPTED_AT = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
# As from a terminal: what a shell runs in the background ignores Ctrl-C, and so do the children of tests that run there.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
from adapters.entrypoints.main import main
sys.argv = ["emg-sessions", "show", "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"]
sys.exit(main())
"""


@pytest.mark.parametrize("module", ["typer", "adapters.entrypoints.cli", "adapters.entrypoints.console", "container", "sqlalchemy"])
def test_an_interruption_while_the_program_is_loaded_is_one_line_at_most(tmp_path: Path, module: str) -> None:
    program = [sys.executable, "-c", INTERRUPTED_AT.format(module=module)]
    ended = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (INTERRUPTED, "")
    assert ended.stderr in ("", "error: interrupted\n")


PROCESS, SHOW, STATS = ("process", "a.c3d"), ("show", "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"), ("cache", "stats")
EMBEDDED: dict[str, str] = {}
VALKEY_ALONE = {"STORAGE": "memory"}
RECORDINGS_ALONE = {"STORAGE": "memory", "CACHE": "none"}  # Of the three commands only `process` looks at those.
NEEDS_A_FOLDER = [
    *((settings, command) for settings in (EMBEDDED, VALKEY_ALONE) for command in (PROCESS, SHOW, STATS)),
    (RECORDINGS_ALONE, PROCESS),
]


@pytest.mark.parametrize(("settings", "command"), NEEDS_A_FOLDER, ids=str)
@pytest.mark.parametrize("folder", ["/proc/x", "a.c3d/data"])
def test_a_data_folder_that_cannot_be_is_named(tmp_path: Path, folder: str, settings: dict[str, str], command: tuple[str, ...]) -> None:
    synthesise(tmp_path / "a.c3d", seed=1, duration_s=12.0)
    ended = emg_sessions(tmp_path, {"DATA_DIR": folder} | settings)(*command)
    assert ended.code == USAGE, ended.err
    assert "DATA_DIR" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "shown"), [("Größe 1.c3d", r"Gr\xf6\xdfe 1.c3d"), ("no bytes of UTF-8 \udcff.c3d", r"no bytes of UTF-8 \udcff.c3d")]
)
def test_a_name_that_the_terminal_cannot_show_is_escaped(command: Command, tmp_path: Path, name: str, shown: str) -> None:
    (tmp_path / name).write_bytes(b"no recording")
    for encoding in ("ascii", "utf-8"):
        ended = command("process", name, PYTHONIOENCODING=encoding)
        assert ended.code == SOME_FAILED, ended.err
        assert (shown if encoding == "ascii" or "\udcff" in name else name) in ended.err


def test_a_recording_whose_name_is_not_ascii_is_processed_where_only_ascii_is_shown(command: Command, tmp_path: Path) -> None:
    synthesise(tmp_path / "Größe.c3d", seed=1, duration_s=12.0)
    ended = command("process", "Größe.c3d", PYTHONIOENCODING="ascii")
    assert ended.code == OK, ended.err
    assert r"Gr\xf6\xdfe.c3d" in ended.out
