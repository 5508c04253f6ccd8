"""Where a run takes place, and with which versions of what."""

from __future__ import annotations

import asyncio
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from adapters.entrypoints.bench.figures import Machine

LIBRARIES: Final = (
    "emg-sessions", "redis", "hiredis", "cashews", "aiocache", "dogpile.cache", "fastapi-cache2", "valkey-glide", "sqlalchemy", "asyncpg",
    "msgspec", "zstandard", "fastapi", "uvicorn",
)  # fmt: skip


def this_machine() -> Machine:
    """This one, as far as it says."""
    loop = type(asyncio.get_running_loop())
    return Machine(
        processor=_processor(),
        cores=os.process_cpu_count() if hasattr(os, "process_cpu_count") else len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        event_loop=loop.__module__.partition(".")[0],
    )


def library_versions() -> dict[str, str]:
    """The versions of what is installed of what matters here."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
