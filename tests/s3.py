"""A server that speaks S3 and checks signatures, on a folder: nanio."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

from adapters.entrypoints.bench.ports import free_ports
from adapters.recordings import S3Access

_START_S: Final = 30.0
_ATTEMPTS: Final = 5
KEY: Final = "tests"
SECRET: Final = "secret-of-tests"


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where it is. Its buckets are the folders in `folder`."""

    endpoint: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def access(self) -> S3Access:
        """What lets one in."""
        return S3Access(access_key_id=KEY, secret_access_key=SECRET, region="us-east-1", endpoint=self.endpoint)

    def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        (self.folder / name).mkdir()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Accept connections, and answer nothing."""
        process = psutil.Process(self.process.pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start one, and stop it."""
    folder.mkdir(parents=True, exist_ok=True)
    for attempt in range(_ATTEMPTS):
        (port,) = free_ports(1)
        command = [str(Path(sys.executable).with_name("nanio")), "serve", "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
        environment = {**os.environ, "NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET, "NANIO_DATA_DIR": str(folder)}
        with (folder.parent / "nanio.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            if _answers(process, port):
                yield S3Server(f"http://127.0.0.1:{port}", folder, process)
                return
            assert attempt < _ATTEMPTS - 1, (folder.parent / "nanio.log").read_text("utf-8")
        finally:
            process.kill()
            process.wait()


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start an S3 server of this worker's own."""
    with s3_server(tmp_path_factory.mktemp("s3") / "buckets") as server:
        yield server
