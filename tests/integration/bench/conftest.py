"""A place for runs of the bench: a Valkey of their own, on TCP as the peers need it, and a database of their own on the tests' server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.entrypoints.bench.documents import Documents
from adapters.entrypoints.bench.method import Pace
from adapters.entrypoints.bench.recorded import documents_of
from adapters.entrypoints.bench.servers import open_servers
from adapters.entrypoints.bench.stage import Stage, open_truth

TINY = Pace("tiny", rounds=1, turn_s=0.0, calls=1, sessions=20, many_rounds=1, readers=(4,), thorough=False)


@pytest.fixture(scope="session")
def documents() -> Documents:
    """Without the large ones, which take time and are no different."""
    made = documents_of(None)
    return replace(made, sized={"4 KB": made.sized["4 KB"]})


@pytest.fixture(scope="session")
async def stage(postgres_server: str, documents: Documents) -> AsyncIterator[Stage]:
    async with open_servers(postgres_server, None) as place, open_truth(place.database_url) as truth:
        yield Stage(place, truth, documents, TINY)


@pytest.fixture
async def empty_stage(postgres_server: str, documents: Documents) -> AsyncIterator[Stage]:
    """With a database that holds nothing yet, for what counts sessions."""
    async with open_servers(postgres_server, None) as place, open_truth(place.database_url) as truth:
        yield Stage(place, truth, documents, TINY)
