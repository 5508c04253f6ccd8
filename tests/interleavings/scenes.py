"""Who is on the stage: the races that a cache of this kind can lose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from adapters.redis_cache.policy import CachePolicy
from tests.interleavings.conftest import POLICY, Actors, Play


@dataclass(frozen=True)
class Scene:
    """Processes, and what is done in them. `complete`: all orders within the bound on preemptions are tried, not a sample."""

    processes: tuple[str, ...]
    actors: Callable[[Play], Actors]
    cached_at_first: bool = False
    preemptions_max: int = 99
    schedules_max: int = 1_000
    complete: bool = True
    both_ways: frozenset[str] = frozenset()
    policy: CachePolicy = POLICY

    def explore(self, play: Play) -> bool:
        """In all its orders. Raises AssertionError where a promise is broken."""
        play.policy = self.policy
        play.stage.both_ways = self.both_ways
        play.runner.run(play.open(*self.processes))
        return play.explore(
            self.actors(play), cached_at_first=self.cached_at_first, preemptions_max=self.preemptions_max, schedules_max=self.schedules_max
        )


SCENES: Final = {
    "a reader and a writer": Scene(
        ("reader", "writer"),
        lambda play: {"reader": partial(play.read, "reader", times=2), "writer": partial(play.write, "writer", 2)},
        preemptions_max=3,
    ),
    "a reader of a batch and a writer": Scene(
        ("reader", "writer"),
        lambda play: {"reader": partial(play.read_batch, "reader"), "writer": partial(play.write, "writer", 2)},
    ),
    "two writers": Scene(
        ("one", "other"),
        lambda play: {"one": partial(play.write, "one", 2), "other": partial(play.write, "other", 3)},
        preemptions_max=3,
        schedules_max=300,
        complete=False,
    ),
    "two readers, one of them again and again, and a writer": Scene(
        ("one", "other", "writer"),
        lambda play: {
            "one": partial(play.read, "one"),
            "other": partial(play.read_on, "other"),
            "writer": partial(play.write, "writer", 2),
        },
        preemptions_max=1,
        schedules_max=300,
        complete=False,
    ),
    "a reader, a relay and a program that knows of no cache": Scene(
        ("reader", "relay"),
        lambda play: {
            "reader": partial(play.read, "reader", times=2),
            "relay": partial(play.catch_up, "relay"),
            "SQL": partial(play.write_past_the_cache, "SQL", 2),
        },
        cached_at_first=False,
        preemptions_max=2,
    ),
    "two relays and a program that knows of no cache": Scene(
        ("one", "other"),
        lambda play: {
            "one": partial(play.catch_up, "one"),
            "other": partial(play.catch_up, "other"),
            "SQL": partial(play.write_past_the_cache, "SQL", 2),
        },
        cached_at_first=True,
        preemptions_max=3,
    ),
    "a relay, and time": Scene(
        ("relay", "late"),
        lambda play: {"relay": partial(play.catch_up, "relay"), "late": partial(play.see_time_pass, "late", 2)},
        cached_at_first=True,
        policy=replace(POLICY, heartbeat_s=0.2),
    ),
    "a reader, a writer, and everything is lost": Scene(
        ("reader", "writer"),
        lambda play: {
            "reader": partial(play.read, "reader"),
            "writer": partial(play.write, "writer", 2),
            "flush": play.lose_everything,
        },
        preemptions_max=2,
        schedules_max=150,
        complete=False,
    ),
    "a reader, a writer, and entry and lease are evicted": Scene(
        ("reader", "writer"),
        lambda play: {
            "reader": partial(play.read, "reader"),
            "writer": partial(play.write, "writer", 2),
            "memory": partial(play.lose, "entry", "lease"),
        },
        preemptions_max=2,
        schedules_max=150,
        complete=False,
    ),
    "a relay that has to begin anew": Scene(
        ("reader", "relay"),
        lambda play: {
            "reader": partial(play.read, "reader"),
            "relay": partial(play.catch_up, "relay"),
            "SQL": partial(play.write_past_the_cache, "SQL", 2),
            "memory": partial(play.lose, "heartbeat", "position"),
        },
        cached_at_first=True,
        preemptions_max=2,
    ),
    "two readers in one process, and news": Scene(
        ("A", "news"),
        lambda play: {
            "A first": partial(play.read, "A"),
            "A second": partial(play.read, "A"),
            "news": partial(play.write_and_catch_up, "news", 2),
        },
        both_ways=frozenset({"A"}),
        preemptions_max=1,
    ),
    "two readers in one process, one is cancelled, and a writer": Scene(
        ("A", "writer"),
        lambda play: {
            "A first": partial(play.read, "A"),
            "A second": partial(play.read, "A"),
            "cancel": partial(play.cancel, "A first"),
            "writer": partial(play.write, "writer", 2),
        },
        preemptions_max=2,
        schedules_max=150,
        complete=False,
    ),
    "two readers, two writers and a relay": Scene(
        ("r1", "r2", "w1", "w2", "relay"),
        lambda play: {
            "r1": partial(play.read, "r1"),
            "r2": partial(play.read_on, "r2"),
            "w1": partial(play.write, "w1", 2),
            "w2": partial(play.write, "w2", 3),
            "relay": partial(play.catch_up, "relay"),
        },
        preemptions_max=2,
        schedules_max=100,
        complete=False,
    ),
}
