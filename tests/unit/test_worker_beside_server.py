"""The worker within `serve`: nobody waits for it, so its failures have to be told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.entrypoints import serve
from tests.patience import eventually


async def test_a_worker_that_fails_is_told_at_once_and_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = 0

    async def run_worker(_app: object, stop: asyncio.Event) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise OverflowError("of P042")
        await stop.wait()

    monkeypatch.setattr(serve, "run_worker", run_worker)
    monkeypatch.setattr(serve, "_WORKER_PAUSE_S", 0.01)
    app: Any = object()
    with capture_logs() as logs:
        async with serve._working(app, wanted=True):

            async def times() -> int:
                return begun

            await eventually(times, lambda count: count == 2)
    [told] = logs
    assert (told["event"], told["log_level"], told["error"]) == ("worker_failed", "error", "OverflowError")
