"""The command as a user runs it: another process, real servers, only the environment to steer it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.c3d.synthesis import synthesise

PROGRAM = Path(sys.executable).with_name("emg-sessions")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


def emg_sessions(folder: Path, environment: dict[str, str], *, program: Path = PROGRAM) -> Command:
    def run(*arguments: str | Path, **more: str) -> Ended:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        result = subprocess.run(
            [program, *map(str, arguments)],
            cwd=folder,  # No .env of ours is read there.
            env=inherited | {"COLUMNS": "100"} | environment | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert "Traceback" not in result.stdout + result.stderr
        return Ended(result.returncode, result.stdout, result.stderr)

    return run


@pytest.fixture
def command(tmp_path: Path, fresh_database_url: str, redis_url: str, redis_prefix: str) -> Command:
    """`emg-sessions` on the test servers, with a database and a key prefix of its own, the schema in place."""
    url = fresh_database_url.replace("postgresql+asyncpg", "postgresql")
    return emg_sessions(tmp_path, {"DATABASE_URL": url, "REDIS_URL": redis_url, "REDIS_KEY_PREFIX": redis_prefix})


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """Two short recordings, made up."""
    paths = [tmp_path / "recordings" / f"session {number}.c3d" for number in (1, 2)]
    paths[0].parent.mkdir()
    for seed, path in enumerate(paths):
        synthesise(path, seed=seed, duration_s=12.0)
    return paths
