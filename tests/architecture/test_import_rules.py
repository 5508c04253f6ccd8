"""Every import contract holds, and is seen to fail on a planted violation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

VIOLATIONS = [
    ("services know the domain, entrypoints know everybody", "domain/session.py", "import services.therapy_session_processor"),
    ("adapters stand on the domain; only entrypoints stand on adapters' wiring", "adapters/postgres/engine.py", "import adapters.settings"),
    (
        "adapters stand on the domain; only entrypoints stand on adapters' wiring",
        "adapters/redis_cache/keys.py",
        "import adapters.postgres",
    ),
    ("adapters stand on the domain; only entrypoints stand on adapters' wiring", "adapters/stray.py", "import domain.session"),
    ("only entrypoints import the container", "services/therapy_session_processor.py", "import container"),
    ("adapters stand on the domain; only entrypoints stand on adapters' wiring", "adapters/chaos.py", "import adapters.memory"),
    ("driven adapters do not know services", "adapters/chaos.py", "import services.therapy_session_processor"),
    ("driven adapters do not know services", "adapters/memory/session_registry.py", "import services.therapy_session_processor"),
    ("the domain and the services are free of frameworks", "domain/analytics.py", "import msgspec"),
    ("the domain and the services are free of frameworks", "services/therapy_session_processor.py", "import adapters.memory"),
    ("redis is known to the cache and to the bench alone", "adapters/postgres/engine.py", "import redis"),
    (
        "sqlalchemy and asyncpg are known to the postgres adapter and the bench alone",
        "adapters/redis_cache/keys.py",
        "import sqlalchemy",
    ),
    ("what the web is made of is known to the HTTP surface and to what starts it", "adapters/memory/session_registry.py", "import fastapi"),
    ("what the web is made of is known to the HTTP surface and to what starts it", "adapters/redis_cache/keys.py", "import jwt"),
    ("the HTTP surface knows the document, and no other adapter", "adapters/http/sessions.py", "import adapters.memory"),
    ("only entrypoints import the container", "adapters/http/app.py", "import container"),
    ("the domain and the services are free of frameworks", "services/session_access.py", "import fastapi"),
    ("tsdownsample is known to the reduction alone", "adapters/http/signals.py", "import tsdownsample"),
    ("arrow is known to the http surface alone", "adapters/reduction.py", "import arro3.core"),
    ("the domain and the services are free of frameworks", "services/session_signals.py", "import tsdownsample"),
    ("obstore is known to the recording store alone", "adapters/memory/session_registry.py", "import obstore"),
    ("procrastinate and psycopg are known to the queue adapter alone", "adapters/postgres/submissions.py", "import procrastinate"),
    ("procrastinate and psycopg are known to the queue adapter alone", "adapters/postgres/engine.py", "import psycopg"),
    ("adapters stand on the domain; only entrypoints stand on adapters' wiring", "adapters/queue/jobs.py", "import adapters.postgres"),
    ("prometheus is known to the metrics alone", "adapters/redis_cache/stats.py", "import prometheus_client"),
    ("limits is known to the rate limits alone", "adapters/memory/session_registry.py", "import limits"),
    ("opentelemetry is known to the traces alone", "adapters/queue/jobs.py", "import opentelemetry"),
    ("what parses uploads is known to the HTTP surface alone", "adapters/recordings/keys.py", "import streaming_form_data"),
    ("the peers, and what draws pictures, are known to the bench alone", "adapters/redis_cache/near.py", "import cashews"),
    ("the peers, and what draws pictures, are known to the bench alone", "adapters/entrypoints/show.py", "import glide"),
    ("the peers, and what draws pictures, are known to the bench alone", "adapters/entrypoints/plot.py", "import matplotlib"),
    ("the bench is started by its command alone", "adapters/entrypoints/demo.py", "import adapters.entrypoints.bench.method"),
    ("ezc3d is known to the c3d adapter alone", "adapters/memory/session_registry.py", "import ezc3d"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60, env={"PATH": "", "PYTHONPATH": "."})


def copy_of_the_code(folder: Path) -> Path:
    for name in ("domain", "services", "adapters"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("container.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_the_code_keeps_every_contract() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("contract", "file", "line"), VIOLATIONS, ids=[f"{file}: {line}" for _, file, line in VIOLATIONS])
def test_a_planted_violation_breaks_its_contract(tmp_path: Path, contract: str, file: str, line: str) -> None:
    folder = copy_of_the_code(tmp_path)
    with (folder / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")
    result = lint(folder)
    assert result.returncode != 0, f"nothing noticed {line!r} in {file}"
    assert f"{contract} BROKEN" in " ".join(result.stdout.split()), result.stdout


def test_no_package_shadows_the_alembic_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
