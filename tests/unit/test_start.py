"""A short command does what it is asked, and little else: most of its time is what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Runs the command, and says at the end how often the collector looked for garbage, whether it would go on, and what has been imported.
COUNTED = """
import atexit, gc, json, sys
collections = []
gc.callbacks.append(lambda phase, info: collections.append(phase))
told = lambda: print(json.dumps({"collections": collections.count("start"), "enabled": gc.isenabled(), "modules": list(sys.modules)}))
atexit.register(told)
from adapters.entrypoints.main import main
sys.argv = ["emg-sessions", "show", "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"]
main()
"""


def counted(folder: Path) -> dict[str, Any]:
    environment = {**os.environ, "STORAGE": "memory", "CACHE": "none", "DATA_DIR": str(folder)}
    ended = subprocess.run(
        [sys.executable, "-c", COUNTED], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "there is no session" in ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_nothing_looks_for_garbage_while_a_command_is_imported_and_something_does_from_then_on(tmp_path: Path) -> None:
    found = counted(tmp_path)
    assert found["collections"] < 50  # Hundreds, if what is imported is looked through over and over.
    assert found["enabled"]


def test_a_command_imports_nothing_that_only_uploads_and_analyses_need(tmp_path: Path) -> None:
    assert not {"streaming_form_data", "scipy", "ezc3d", "matplotlib", "uvicorn"} & set(counted(tmp_path)["modules"])


FAILING = """
import contextlib, typer
from adapters.entrypoints import console
async def command(app, settings):
    raise ZeroDivisionError("of P042")
with contextlib.suppress(typer.Exit):
    console.run(command)
"""


@pytest.mark.parametrize("place", ["nowhere", "the environment", "a file"])
def test_an_unforeseen_error_is_one_line_unless_more_is_asked_for(tmp_path: Path, place: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LOG_LEVEL"}
    if place == "the environment":
        environment["LOG_LEVEL"] = "debug"
    elif place == "a file":
        (tmp_path / ".env").write_text("LOG_LEVEL=debug\n")
    ended = subprocess.run(
        [sys.executable, "-c", FAILING], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    if place == "nowhere":
        assert ended.stderr.startswith("error: unforeseen ZeroDivisionError; run again with LOG_LEVEL=debug")
    assert ("ZeroDivisionError: of P042" in ended.stderr) == (place != "nowhere")
