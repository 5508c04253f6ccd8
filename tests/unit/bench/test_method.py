"""How the bench measures, under a clock that only the measured calls move."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence

import pytest

from adapters.entrypoints.bench.method import Pace, Progress, Rounds, Way, call_by_call, in_blocks

PACE = Pace("test", rounds=4, turn_s=0.01, calls=5, sessions=10, many_rounds=2, readers=(1,), thorough=False)


class Clock:
    """Seconds that pass when a call says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Called:
    """A way whose calls take `us` each, by number of the call if there are several; it notes what it was asked."""

    def __init__(self, clock: Clock, *us: float) -> None:
        self.numbers: list[int] = []
        self.before: list[list[int]] = []
        self._clock, self._us = clock, us

    async def call(self, number: int) -> None:
        self._clock.now_s += self._us[len(self.numbers) % len(self._us)] / 1e6
        self.numbers.append(number)

    async def prepare(self, numbers: Sequence[int]) -> None:
        self._clock.now_s += 1.0  # Which must not be counted.
        self.before.append(list(numbers))


async def test_every_way_has_one_turn_in_every_round_and_its_figure_is_what_a_call_takes() -> None:
    clock = Clock()
    slow, quick = Called(clock, 100.0), Called(clock, 20.0)
    rounds = await in_blocks([Way("slow", slow.call), Way("quick", quick.call)], [[7]], PACE, clock=clock)
    assert rounds.us["slow"] == pytest.approx([100.0] * 4)
    assert rounds.us["quick"] == pytest.approx([20.0] * 4)
    assert rounds.times_as_fast("quick", "slow") == pytest.approx([5.0] * 4)
    assert rounds.added_us("slow", "quick") == pytest.approx([80.0] * 4)
    assert rounds.median_us("slow") == pytest.approx(100.0)


async def test_turns_of_all_ways_last_about_as_long_however_quick_they_are() -> None:
    clock = Clock()
    slow, quick = Called(clock, 2000.0), Called(clock, 10.0)
    await in_blocks([Way("slow", slow.call), Way("quick", quick.call)], [[7]], PACE, clock=clock)
    assert 5 * 4 <= len(slow.numbers) <= 5 * 4 + 10
    assert 1000 * 4 <= len(quick.numbers) <= 1000 * 4 + 1500


async def test_the_order_of_ways_differs_from_round_to_round() -> None:
    clock = Clock()
    order: list[str] = []

    def way(name: str) -> Way:
        async def call(_: int) -> None:
            clock.now_s += 0.01
            if order[-1:] != [name]:
                order.append(name)

        return Way(name, call)

    pace = Pace("test", rounds=20, turn_s=0.01, calls=1, sessions=1, many_rounds=1, readers=(1,), thorough=False)
    await in_blocks([way("a"), way("b"), way("c")], [[0]], pace, clock=clock, order=random.Random(3))
    # Where one way ends a round and begins the next, it is noted once.
    assert len({tuple(order[place : place + 3]) for place in range(len(order) - 2)} - {("a", "b", "c")}) > 3


async def test_what_comes_before_a_turn_is_not_timed_and_is_told_what_will_be_asked() -> None:
    clock = Clock()
    called = Called(clock, 1000.0)
    rounds = await in_blocks([Way("way", called.call, called.prepare)], [range(100)], PACE, once=True, clock=clock)
    assert rounds.us["way"] == pytest.approx([1000.0] * 4)
    assert len(called.before) >= 5
    asked = iter(called.numbers)
    for numbers in called.before:
        assert sorted(next(asked) for _ in numbers) == numbers
    assert next(asked, None) is None  # Nothing was asked without its being told, and nothing twice.


async def test_where_nothing_may_be_asked_twice_a_turn_is_as_long_as_there_are_numbers() -> None:
    clock = Clock()
    called = Called(clock, 1.0)
    await in_blocks([Way("way", called.call, called.prepare)], [range(8)], PACE, once=True, clock=clock)
    assert all(numbers == list(range(8)) for numbers in called.before[-4:])
    assert len(called.numbers) == sum(map(len, called.before))


async def test_a_turn_goes_on_in_its_numbers_where_the_last_one_ended() -> None:
    clock = Clock()
    called = Called(clock, 1000.0)
    await in_blocks([Way("way", called.call)], [range(1_000_000)], PACE, clock=clock)
    assert called.numbers == list(range(len(called.numbers)))


async def test_concurrent_readers_share_a_turn_each_with_numbers_of_its_own() -> None:
    clock = Clock()
    called = Called(clock, 100.0)
    rounds = await in_blocks([Way("way", called.call)], [[reader] for reader in range(16)], PACE, clock=clock)
    assert rounds.us["way"] == pytest.approx([100.0] * 4)
    assert {called.numbers.count(reader) for reader in range(16)} == {len(called.numbers) // 16}


async def test_call_by_call_the_figure_of_a_round_is_the_median_of_its_calls() -> None:
    clock = Clock()
    one, other = Called(clock, 10.0), Called(clock, *[10.0] * 10, 5.0, 5.0, 7.0, 900.0, 900.0)
    pace = Pace("test", rounds=1, turn_s=1.0, calls=5, sessions=1, many_rounds=1, readers=(1,), thorough=False)
    rounds = await call_by_call([Way("one", one.call), Way("other", other.call)], list(range(10)), pace, clock=clock)
    assert rounds.us == {"one": [pytest.approx(10.0)], "other": [pytest.approx(7.0)]}


async def test_call_by_call_all_make_one_call_before_any_makes_another_and_each_follows_each() -> None:
    clock = Clock()
    order: list[str] = []

    def way(name: str) -> Way:
        async def call(_: int) -> None:
            order.append(name)

        return Way(name, call)

    ways = [way(name) for name in "abc"]
    pace = Pace("test", rounds=1, turn_s=1.0, calls=60, sessions=1, many_rounds=1, readers=(1,), thorough=False)
    await call_by_call(ways, [0], pace, clock=clock, order=random.Random(3))
    measured = order[3:]  # After the warm-up.
    rounds = [measured[place : place + 3] for place in range(0, len(measured), 3)]
    assert all(set(each) == set("abc") for each in rounds)
    assert len({tuple(each) for each in rounds}) == 6


async def test_the_garbage_collector_is_as_it_was_even_if_a_call_fails() -> None:
    frozen = gc.get_freeze_count()
    calls = 0

    async def fails_in_the_end(_: int) -> None:
        nonlocal calls
        calls += 1
        if gc.get_freeze_count() > frozen:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await in_blocks([Way("way", fails_in_the_end)], [[0]], PACE)
    assert calls > 1
    assert gc.get_freeze_count() == frozen


async def test_progress_never_goes_back_also_over_parts() -> None:
    class Told(Progress):
        shares: list[float]

        def __init__(self) -> None:
            self.shares = []

        def at(self, share: float, what: str) -> None:
            self.shares.append(share)

    clock, told = Clock(), Told()
    for place in range(2):
        await in_blocks([Way("way", Called(clock, 1000.0).call)], [[0]], PACE, clock=clock, progress=told.part(place, 2))
    assert told.shares == sorted(told.shares)
    assert 0 <= told.shares[0] < 0.5 <= told.shares[-1] <= 1


def test_a_table_compares_within_rounds_and_not_medians() -> None:
    rounds = Rounds({"ours": [1.0, 10.0, 3.0], "theirs": [2.0, 30.0, 3.0]})
    table = rounds.table("name", "title", reference="theirs")
    ratio = table.row("ours").ratio
    assert ratio is not None
    assert (ratio.least, ratio.median, ratio.most) == (1.0, 2.0, 3.0)
    per_second = rounds.table("name", "title", per_second=True)
    assert not per_second.less_is_better
    assert per_second.row("ours").value.most == pytest.approx(1e6)
