"""Shared work: nobody who waits owns it."""

from __future__ import annotations

import asyncio

import pytest

from adapters.redis_cache.flights import Flights


async def test_work_for_one_key_is_done_once_and_late_comers_know_that_they_are_late() -> None:
    flights: Flights[str, int] = Flights(60.0)
    begun = 0
    may_end = asyncio.Event()

    async def work() -> int:
        nonlocal begun
        begun += 1
        await may_end.wait()
        return 7

    waiting = [asyncio.create_task(flights.join("key", work)) for _ in range(5)]
    await asyncio.sleep(0)
    may_end.set()
    landed = await asyncio.gather(*waiting)
    assert begun == 1
    assert [one.result for one in landed] == [7] * 5
    assert [one.joined for one in landed] == [False, True, True, True, True]
    assert (await flights.join("key", work)).joined is False


async def test_cancelling_whoever_began_it_leaves_the_work_and_the_others_alone() -> None:
    flights: Flights[str, int] = Flights(60.0)
    may_end = asyncio.Event()

    async def work() -> int:
        await may_end.wait()
        return 7

    first = asyncio.create_task(flights.join("key", work))
    await asyncio.sleep(0)
    second = asyncio.create_task(flights.join("key", work))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    may_end.set()
    assert (await second).result == 7


async def test_a_failure_reaches_everybody_and_is_not_kept() -> None:
    flights: Flights[str, int] = Flights(60.0)

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError

    results = await asyncio.gather(*(flights.join("key", fail) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3

    async def succeed() -> int:
        return 1

    assert (await flights.join("key", succeed)).result == 1


async def test_closing_ends_what_nobody_waits_for() -> None:
    flights: Flights[str, int] = Flights(60.0)
    ended = asyncio.Event()

    async def work() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    waiting = asyncio.create_task(flights.join("key", work))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    await flights.aclose()
    assert ended.is_set()


async def test_when_the_last_one_is_cancelled_the_work_ends() -> None:
    flights: Flights[str, int] = Flights(60.0)
    ended = asyncio.Event()

    async def work() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    waiting = [asyncio.create_task(flights.join("key", work)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0.01)
    assert not ended.is_set()
    waiting[1].cancel()
    await asyncio.sleep(0.01)
    assert ended.is_set()


async def test_work_that_has_departed_or_is_too_old_takes_nobody_more_along() -> None:
    flights: Flights[str, int] = Flights(0.05)
    may_end = asyncio.Event()
    begun = 0

    async def work() -> int:
        nonlocal begun
        begun += 1
        mine = begun
        await may_end.wait()
        return mine

    first = asyncio.create_task(flights.join("key", work))
    await asyncio.sleep(0)
    flights.depart("key")
    second = asyncio.create_task(flights.join("key", work))
    await asyncio.sleep(0.1)
    third = asyncio.create_task(flights.join("key", work))
    await asyncio.sleep(0)
    may_end.set()
    assert [(await waiting).result for waiting in (first, second, third)] == [1, 2, 3]


async def test_whoever_comes_while_abandoned_work_ends_begins_anew() -> None:
    flights: Flights[str, int] = Flights(60.0)
    begun = 0

    async def work() -> int:
        nonlocal begun
        begun += 1
        if begun == 1:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
        return begun

    first = asyncio.create_task(flights.join("key", work))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    landed = await flights.join("key", work)
    assert (landed.result, landed.joined) == (2, False)
    with pytest.raises(asyncio.CancelledError):
        await first
