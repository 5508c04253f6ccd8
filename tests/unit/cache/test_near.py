"""The near cache under a fake clock."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from adapters.redis_cache.entry import Entry
from adapters.redis_cache.near import NearCache, NearCopy
from adapters.redis_cache.policy import CachePolicy
from domain.session import SessionId

SESSION = SessionId(UUID("6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"))
EPOCH, OTHER_EPOCH = b"epoch--1", b"epoch--2"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def near(clock: Clock, **choices: float) -> NearCache:
    return NearCache(CachePolicy(near_trust_s=1.0, **choices), clock=clock)  # type: ignore[arg-type]


def copy_of(
    version: int, *, session_id: SessionId = SESSION, epoch: bytes = EPOCH, filled_at_ms: int = 5, payload: bytes = b"{}"
) -> NearCopy:
    return NearCopy(Entry(session_id, version, epoch, filled_at_ms, "identity", payload), None)


def test_a_copy_is_trusted_from_when_its_read_began(clock: Clock) -> None:
    cache = near(clock)
    began = cache.read_begins()
    clock.now += 0.4
    cache.keep(copy_of(1), began)
    clock.now += 0.59
    assert cache.trusted(SESSION, None) is not None
    clock.now += 0.02
    assert cache.trusted(SESSION, None) is None
    assert cache.held(SESSION) is not None


def test_a_copy_older_than_the_version_asked_for_is_not_served(clock: Clock) -> None:
    cache = near(clock)
    cache.keep(copy_of(3), cache.read_begins())
    assert cache.trusted(SESSION, 3) is not None
    assert cache.trusted(SESSION, 4) is None


def test_our_own_write_drops_the_copy_and_what_reads_under_way_will_bring(clock: Clock) -> None:
    cache = near(clock)
    cache.keep(copy_of(1), cache.read_begins())
    began = cache.read_begins()
    cache.drop(SESSION)
    assert cache.trusted(SESSION, None) is None
    cache.keep(copy_of(1), began)
    assert cache.trusted(SESSION, None) is None
    cache.keep(copy_of(2), cache.read_begins())
    assert cache.trusted(SESSION, None) is not None


def test_an_older_version_of_the_same_epoch_never_replaces_a_newer_one(clock: Clock) -> None:
    cache = near(clock)
    began = cache.read_begins()
    cache.keep(copy_of(2), began)
    cache.keep(copy_of(1), began)
    held = cache.held(SESSION)
    assert held is not None
    assert held.entry.version == 2


def test_in_a_new_epoch_versions_of_the_old_one_mean_nothing(clock: Clock) -> None:
    cache = near(clock)
    cache.keep(copy_of(9), cache.read_begins())
    cache.keep(copy_of(2, epoch=OTHER_EPOCH), cache.read_begins())
    held = cache.held(SESSION)
    assert held is not None
    assert held.entry.version == 2


def test_a_slow_read_of_the_same_version_does_not_shorten_the_trust(clock: Clock) -> None:
    cache = near(clock)
    slow = cache.read_begins()
    clock.now += 0.9
    cache.keep(copy_of(1), cache.read_begins())
    cache.keep(copy_of(1), slow)
    clock.now += 0.5
    assert cache.trusted(SESSION, None) is not None


@pytest.mark.parametrize("other", [{"version": 2}, {"version": 1, "epoch": OTHER_EPOCH}, {"version": 1, "filled_at_ms": 6}])
def test_only_the_very_same_entry_spares_the_decoding(clock: Clock, other: dict[str, int]) -> None:
    cache = near(clock)
    cache.keep(copy_of(1), cache.read_begins())
    assert cache.same(copy_of(1).entry) is not None
    assert cache.same(copy_of(**other).entry) is None  # type: ignore[arg-type]


def test_it_holds_so_many_copies_and_no_more(clock: Clock) -> None:
    cache = near(clock, near_entries_max=3)
    ids = [SessionId(uuid4()) for _ in range(10)]
    for session_id in ids:
        cache.keep(copy_of(1, session_id=session_id), cache.read_begins())
    assert len(cache) == 3
    assert [session_id for session_id in ids if cache.held(session_id)] == ids[-3:]


def test_it_holds_so_many_bytes_and_no_more(clock: Clock) -> None:
    cache = near(clock, near_bytes_max=100_000)
    for _ in range(10):
        cache.keep(copy_of(1, session_id=SessionId(uuid4()), payload=b"x" * 1000), cache.read_begins())
    assert 0 < cache.bytes_held <= 100_000
    assert 0 < len(cache) < 10
    huge = copy_of(2, payload=b"x" * 100_000)
    cache.keep(huge, cache.read_begins())
    assert cache.held(SESSION) is None


def test_it_can_be_switched_off(clock: Clock) -> None:
    cache = near(clock, near_entries_max=0)
    cache.keep(copy_of(1), cache.read_begins())
    assert len(cache) == 0
