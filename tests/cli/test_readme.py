"""The README's Python is run as it stands there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from types import CodeType
from typing import Any, cast

import pytest

from domain.ports import AnalyticsAnswer
from tests.cli.conftest import Command

README = Path(__file__).parents[2] / "README.md"


def test_the_snippet_reads_the_session_whose_id_was_printed(
    command: Command, recordings: list[Path], monkeypatch: pytest.MonkeyPatch, fresh_database_url: str, tmp_path: Path
) -> None:
    session_id = re.findall(r"[0-9a-f-]{36}", command("process", recordings[0]).out)[0]
    snippet = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
    text, changed = re.subn(r"[0-9a-f-]{36}", session_id, snippet)
    assert changed == 1, "the snippet says where the id comes from"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", fresh_database_url.replace("postgresql+asyncpg", "postgresql"))
    monkeypatch.setenv("CACHE", "none")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    names: dict[str, Any] = {}
    code = cast(CodeType, compile(text, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))

    async def run() -> None:
        done = eval(code, names)
        assert inspect.isawaitable(done)
        await done

    asyncio.run(run())
    answer: AnalyticsAnswer = names["answer"]
    assert str(answer.analytics.session_id) == session_id
