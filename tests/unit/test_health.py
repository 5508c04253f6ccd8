"""The watch over the parts, under a fake clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from domain.errors import StorageUnavailable
from domain.ports import PartHealth, WatchedPart
from services.health import HealthWatch

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Part(WatchedPart):
    def __init__(self) -> None:
        self.answer: PartHealth | Exception | None = PartHealth("healthy")
        self.looks = 0

    async def look(self) -> PartHealth:
        self.looks += 1
        await asyncio.sleep(0)
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


class Watched:
    def __init__(self, *names: str, deadline_s: float = 0.05) -> None:
        self.time_s = 0.0
        self.parts = {name: Part() for name in names}
        self.watch = HealthWatch(
            self.parts, deadline_s=deadline_s, clock=lambda: self.time_s, now=lambda: BEGIN + timedelta(seconds=self.time_s)
        )


async def test_all_parts_are_looked_at_together() -> None:
    watched = Watched("database", "cache")
    report = await watched.watch.report()
    assert report.status == "healthy"
    assert {name: part.health.status for name, part in report.parts.items()} == {"database": "healthy", "cache": "healthy"}


@pytest.mark.parametrize("status", ["degraded", "unhealthy"])
async def test_the_whole_is_degraded_as_soon_as_a_part_is_not_healthy(status: str) -> None:
    watched = Watched("database", "cache")
    watched.parts["cache"].answer = PartHealth(status, "because")  # type: ignore[arg-type]
    assert (await watched.watch.report()).status == "degraded"


async def test_a_part_that_hangs_is_unhealthy_after_its_deadline_and_keeps_nobody_else() -> None:
    watched = Watched("database", "cache")
    watched.parts["cache"].answer = None
    report = await watched.watch.report()
    assert report.parts["cache"].health == PartHealth("unhealthy", "no answer within 0.05 s")
    assert report.parts["database"].health.status == "healthy"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StorageUnavailable("PostgreSQL is away"), "PostgreSQL is away"), (ValueError("P001"), "looking at it failed (ValueError)")],
)
async def test_a_part_that_fails_is_unhealthy_and_an_unforeseen_error_is_not_quoted(error: Exception, reason: str) -> None:
    watched = Watched("database")
    watched.parts["database"].answer = error
    assert (await watched.watch.report()).parts["database"].health == PartHealth("unhealthy", reason)


async def test_since_when_is_kept_until_the_part_is_well_again() -> None:
    watched = Watched("cache")
    part = watched.parts["cache"]
    since: list[datetime | None] = []
    for time_s, status in [(0, "healthy"), (1, "degraded"), (2, "unhealthy"), (3, "healthy"), (4, "unhealthy")]:
        watched.time_s = float(time_s)
        part.answer = PartHealth(status)  # type: ignore[arg-type]
        since.append((await watched.watch.report()).parts["cache"].since)
    assert since == [None, BEGIN + timedelta(seconds=1), BEGIN + timedelta(seconds=1), None, BEGIN + timedelta(seconds=4)]


async def test_any_number_of_watchers_cost_one_look() -> None:
    watched = Watched("cache")
    await asyncio.gather(*(watched.watch.report() for _ in range(100)))
    watched.time_s = 0.4
    await watched.watch.report()
    assert watched.parts["cache"].looks == 1
    watched.time_s = 0.6
    await watched.watch.report()
    assert watched.parts["cache"].looks == 2


async def test_a_watcher_that_goes_away_takes_nobody_along() -> None:
    watched = Watched("cache")
    impatient = asyncio.create_task(watched.watch.report())
    patient = asyncio.create_task(watched.watch.report())
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).status == "healthy"
    with pytest.raises(asyncio.CancelledError):
        await impatient


class ReluctantPart(Part):
    """Takes its time to give up."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = asyncio.Event()

    async def look(self) -> PartHealth:
        self.looks += 1
        try:
            await asyncio.Event().wait()
        finally:
            await self.may_end.wait()
        raise AssertionError


async def test_a_part_that_takes_its_time_to_give_up_holds_nobody_up_and_is_not_asked_twice_at_once() -> None:
    watched = Watched("cache")
    reluctant = ReluctantPart()
    watch = HealthWatch({"database": reluctant, **watched.parts}, deadline_s=0.05, clock=lambda: watched.time_s)
    async with asyncio.timeout(10.0):
        for watched.time_s in (1.0, 2.0):
            report = await watch.report()
            assert report.parts["database"].health == PartHealth("unhealthy", "no answer within 0.05 s")
            assert report.parts["cache"].health.status == "healthy"
    assert reluctant.looks == 1
    reluctant.may_end.set()
    await asyncio.sleep(0.01)
    watched.time_s = 3.0
    await watch.report()
    assert reluctant.looks == 2
