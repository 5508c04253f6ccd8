"""Calls that fall due whatever becomes of those before."""

from __future__ import annotations

import asyncio
import time

import pytest

from adapters.entrypoints.bench.open_loop import NEVER_ANSWERED, OpenLoop


async def made(loop: OpenLoop, seconds: float) -> None:
    begin_s = time.monotonic()
    loop.stop_at(begin_s + seconds)
    await loop.run(begin_s)


async def test_as_many_calls_are_made_as_fall_due() -> None:
    async def call(_: int) -> str:
        return "near"

    loop = OpenLoop(call, lambda number: "write" if number == 0 else "read", 200.0)
    await made(loop, 0.1)
    assert sorted(call.what for call in loop.calls) == ["read"] * 19 + ["write"]
    assert {call.source for call in loop.calls} == {"near"}


async def test_calls_are_made_while_others_are_under_way_and_wait_for_none() -> None:
    gate = asyncio.Event()

    async def call(number: int) -> str:
        if number == 9:
            gate.set()
        await gate.wait()
        return ""

    loop = OpenLoop(call, lambda _: "read", 100.0)
    await made(loop, 0.1)
    assert len(loop.calls) == 10


async def test_latency_counts_from_when_a_call_was_due() -> None:
    async def call(number: int) -> str:
        if number == 0:
            time.sleep(0.05)  # noqa: ASYNC251 - nobody else gets a turn meanwhile, which is the point
        return ""

    loop = OpenLoop(call, lambda _: "read", 100.0)
    await made(loop, 0.05)
    second = min(loop.calls[1:], key=lambda call: call.due_s)
    assert second.took_s >= 0.03


async def test_it_sleeps_no_longer_than_until_the_next_call_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(seconds)

    async def call(_: int) -> str:
        return ""

    monkeypatch.setattr(asyncio, "sleep", noted)
    await made(OpenLoop(call, lambda _: "read", 5_000.0), 0.05)
    assert slept
    assert max(slept) <= 1 / 5_000


async def test_what_is_raised_is_noted_by_its_name_and_the_load_goes_on() -> None:
    async def call(number: int) -> str:
        if number == 1:
            raise ValueError
        return ""

    loop = OpenLoop(call, lambda _: "read", 100.0)
    await made(loop, 0.05)
    assert [call.error for call in sorted(loop.calls, key=lambda call: call.due_s)] == ["", "ValueError", "", "", ""]


async def test_a_load_that_is_cancelled_leaves_nothing_running() -> None:
    ended: list[str] = []

    async def call(_: int) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return ""

    loop = OpenLoop(call, lambda _: "read", 100.0)
    running = asyncio.create_task(loop.run(time.monotonic() - 0.05))
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert len(ended) == len(loop.calls) >= 5
    assert {call.error for call in loop.calls} == {NEVER_ANSWERED}
