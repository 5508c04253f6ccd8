"""`emg-sessions serve` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from adapters.settings import Settings

COMMAND = str(Path(sys.executable).with_name("emg-sessions"))
_PASSED_ON = ("storage", "cache", "database_url", "redis_url", "redis_key_prefix", "data_dir", "jwt_secret")


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    """The settings as variables."""
    values = {name: getattr(settings, name) for name in _PASSED_ON}
    shown = {name: value.get_secret_value() if isinstance(value, SecretStr) else str(value) for name, value in values.items() if value}
    return os.environ | {name.upper(): value for name, value in shown.items()} | changes


@contextmanager
def served(settings: Settings, *options: str, **changes: str) -> Iterator[str]:
    """The address of a server, which is told to end afterwards, and has to do so well."""
    process = start(settings, *options, **changes)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), f"the server said {url!r}"
        yield url
        assert process.poll() is None, "the server ended by itself"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            _, complaints = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert process.returncode == 0, complaints
    assert "Traceback" not in complaints


def start(settings: Settings, *options: str, **changes: str) -> subprocess.Popen[str]:
    """A server on a free port, without a worker."""
    command = [COMMAND, "serve", "--port", "0", "--no-worker", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(settings, **changes), cwd=settings.data_dir
    )
