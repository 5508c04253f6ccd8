"""The bound of the queue in memory; its promises are in the contract suite."""

from __future__ import annotations

import pytest

from adapters.memory import MemoryProcessingQueue, MemorySessionRegistry
from domain.errors import StorageUnavailable
from tests.strategies import some_session


async def test_a_full_queue_refuses_and_registers_nothing() -> None:
    registry = MemorySessionRegistry()
    queue = MemoryProcessingQueue(registry, jobs_max=2)
    known = [some_session() for _ in range(2)]
    for session in known:
        await queue.submit(session)
    refused = some_session()
    with pytest.raises(StorageUnavailable, match="2 recordings wait"):
        await queue.submit(refused)
    assert await registry.find(refused.session_id) is None
    assert not (await queue.submit(known[0])).new
