"""Metrics of several processes, and of those that serve nothing else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from adapters.metrics import Metrics
from domain.errors import InvalidSettings

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
from adapters.metrics import Metrics

async def main():
    metrics = Metrics(multiprocess=True)
    await metrics.open()
    metrics.follow(lambda: {"hits": 2})
    metrics.answered("GET", "/health", 200, 0.01)
    if sys.argv[1]:
        print(metrics.exposition()[0].decode())
    await metrics.aclose()

asyncio.run(main())
"""


def run(folder: Path, *, last: bool) -> str:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", PROGRAM, "last" if last else ""]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout


def test_any_process_tells_of_all_that_share_a_folder(tmp_path: Path) -> None:
    run(tmp_path, last=False)
    run(tmp_path, last=False)
    told = run(tmp_path, last=True)
    assert 'emg_http_requests_total{method="GET",route="/health",status="200"} 3.0' in told
    assert 'emg_http_request_duration_seconds_count{route="/health"} 3.0' in told
    assert 'emg_cache_events_total{event="hits"} 6.0' in told


def told_at(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        content: bytes = answer.read()
        return content


async def test_a_process_that_serves_nothing_else_can_be_asked() -> None:
    metrics = Metrics()
    metrics.job_ended("completed")
    port = metrics.listen(0)
    try:
        assert b'emg_jobs_total{outcome="completed"} 1.0' in await asyncio.to_thread(told_at, port)
        with pytest.raises(InvalidSettings, match=f"^WORKER_METRICS_PORT: {port} cannot be listened at"):
            Metrics().listen(port)
    finally:
        await metrics.aclose()
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(told_at, port)
