"""A guard against what creeps in: budgets for what is done most, in counts that no other load of the machine changes.

The budgets are a little above what was counted with CPython 3.11. Other versions have other instructions, so they may have a third more.
Raise a budget only for a reason that the commit tells. Round trips are counted in tests/cache/test_reading.py and
tests/integration/postgres/test_exchanges.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from adapters import document
from adapters.redis_cache.entry import HEADER_BYTES
from domain.ports import AnalyticsAnswer, DocumentAnswer, Freshness
from tests.cache.conftest import QUIET, Caches
from tests.costs.counting import Instructions, fewest, run_through
from tests.http.api.service import Service, token
from tests.strategies import some_analytics

_ALLOWANCE = 1.0 if sys.version_info[:2] == (3, 11) else 4 / 3


def assert_within(counted: float, budget: float) -> None:
    assert counted <= budget, f"counted {counted}"
    assert counted > budget / 2, f"counted {counted}: the budget of {budget} guards nothing any more"


async def test_a_near_hit(caches: Caches) -> None:
    near = await caches.open(replace(QUIET, near_entries_max=100, near_trust_s=3600.0))
    analytics = some_analytics()
    await near.save(analytics)

    def hit() -> int:
        with Instructions() as instructions:
            answer = run_through(near.get(analytics.session_id))
        assert isinstance(answer, AnalyticsAnswer)
        assert answer.source == "near"
        return instructions.count

    assert_within(fewest(hit), 175 * _ALLOWANCE)


async def test_a_near_hit_of_the_stored_bytes(caches: Caches) -> None:
    near = await caches.open(replace(QUIET, near_entries_max=100, near_trust_s=3600.0))
    analytics = some_analytics()
    await near.save(analytics)

    def hit() -> int:
        with Instructions() as instructions:
            answer = run_through(near.get_document(analytics.session_id))
        assert isinstance(answer, DocumentAnswer)
        assert answer.source == "near"
        return instructions.count

    assert_within(fewest(hit), 172 * _ALLOWANCE)


async def test_a_redis_hit(caches: Caches) -> None:
    cache = await caches.open()
    analytics = some_analytics()
    await cache.save(analytics)
    counts = []
    for _ in range(5):
        with Instructions(ours_only=True) as instructions:
            answer = await cache.get(analytics.session_id, freshness=Freshness.FRESH)
        assert answer is not None
        assert answer.source == "redis"
        counts.append(instructions.count)
    assert_within(min(counts), 1_560 * _ALLOWANCE)


def test_encoding_looks_for_minus_zeros_and_replaces_none_where_there_is_none() -> None:
    some = some_analytics()
    small = replace(some, channels=tuple(replace(channel, rms=-0.05) for channel in some.channels))
    assert b"-0.0" in document.encode(small)

    def encode() -> int:
        with Instructions() as instructions:
            document.encode(small)
        return instructions.count

    assert_within(fewest(encode), 20 * _ALLOWANCE)


async def test_an_answer_over_http(service: Service) -> None:
    session = await service.session(patient="P1")
    path = f"/api/v1/sessions/{session.session_id}/analytics"
    headers = [(b"host", b"127.0.0.1"), (b"accept-encoding", b"zstd"), (b"authorization", f"Bearer {token()}".encode())]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("there is no body to be read")

    def scope() -> dict[str, Any]:
        return {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers,
            "client": ("127.0.0.1", 1), "root_path": "", "scheme": "http", "http_version": "1.1",
        }  # fmt: skip

    await service.app(scope(), receive, send)

    def answer() -> int:
        sent.clear()
        asked = scope()
        with Instructions() as instructions:
            run_through(service.app(asked, receive, send))
        assert (sent[0]["status"], (b"cache-status", b"emg-sessions; hit; detail=near") in sent[0]["headers"]) == (200, True)
        return instructions.count

    assert_within(fewest(answer), 900 * _ALLOWANCE)


async def test_what_is_stored_of_an_entry_beside_its_payload(caches: Caches, raw: Any) -> None:
    cache = await caches.open()
    analytics = some_analytics()
    await cache.save(analytics)
    stored = await cache.get_document(analytics.session_id)
    assert stored is not None
    name = (await caches.keys()).entry(analytics.session_id)
    value = await raw.get(name)
    assert len(value) - len(stored.body) == HEADER_BYTES == 64
    assert len(stored.body) < len(document.encode(analytics)) / 2
    # The key, its time to live, and what the server itself needs.
    assert_within(await raw.memory_usage(name) - len(value), 170)
