"""`emg-sessions bench` as a user runs it."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from adapters.entrypoints.bench import command
from adapters.entrypoints.bench.catalogue import WORKS
from adapters.entrypoints.bench.figures import from_json
from domain.errors import InvalidSettings


def bench(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    program = Path(sys.executable).with_name("emg-sessions")
    return subprocess.run([program, "bench", *arguments], capture_output=True, check=False, timeout=100)


def test_one_work_is_measured_on_servers_of_its_own_and_written_down(tmp_path: Path) -> None:
    result = bench("--quick", "--only", "misses", "--json", "--output", str(tmp_path / "bench"))
    assert result.returncode == 0, result.stderr.decode()
    report = from_json(result.stdout)
    assert [table.name for table in report.tables] == ["misses"]
    assert report.pace == "quick"
    assert {"Valkey", "PostgreSQL", "redis", "cashews", "emg-sessions"} <= report.versions.keys()
    assert from_json((tmp_path / "bench/report.json").read_bytes()) == report
    assert result.stderr.decode().strip() == "1 of 1: Misses"  # Where no bar can be drawn.
    assert "A miss: load from PostgreSQL" in (tmp_path / "bench/report.md").read_text(encoding="utf-8")


def test_a_work_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(InvalidSettings, match="no work 'speed'; there are hits, misses, writes"):
        command.chosen(WORKS, ["hits", "speed"])
    assert [work.name for work in command.chosen(WORKS, ["writes", "hits"])] == ["hits", "writes"]


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without_cashews(name: str, *rest: Any) -> ModuleType:
        if name.partition(".")[0] == "cashews":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name, *rest)

    for name in [name for name in sys.modules if name.startswith("adapters.entrypoints.bench.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_cashews)
    with pytest.raises(InvalidSettings, match=r"needs cashews.*pip install 'emg-sessions\[bench\]'"), command.extra_needed():
        import adapters.entrypoints.bench.catalogue  # noqa: F401
