"""`emg-sessions cache …` where the cache is spread over the nodes of a cluster: what an operator types, sees and gets back."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from adapters.redis_cache.address import partitions_at
from adapters.redis_cache.keys import slot_of
from domain.session import SessionId, SessionState
from tests.cli.conftest import Command, emg_sessions
from tests.servers import server_folder
from tests.stores import cluster
from tests.strategies import new_id, some_analytics, some_session
from tests.topologies import PRIMARIES, Cluster

__all__ = ["cluster"]

OK, SOME_FAILED, USAGE, STORAGE = 0, 1, 2, 3
EACH = 2


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster to be broken."""
    with server_folder() as folder:
        started = asyncio.run(Cluster.start(folder, replicas=False))
        try:
            yield started
        finally:
            started.stack.close()


@pytest.fixture
def command(tmp_path: Path, fresh_database_url: str, redis_prefix: str) -> Command:
    """`emg-sessions` with a database and a key prefix of its own; REDIS_URL is the test's to give."""
    url = fresh_database_url.replace("postgresql+asyncpg", "postgresql")
    return emg_sessions(tmp_path, {"DATABASE_URL": url, "REDIS_KEY_PREFIX": redis_prefix})


@pytest.fixture
def sessions(fresh_database_url: str, cluster_url: str) -> list[str]:
    """Sessions with analytics in the database, and nothing of them in the cache: two of each node, the first node's first."""
    count = partitions_at(cluster_url)
    ids = [_one_of(node, count) for node in range(PRIMARIES) for _ in range(EACH)]

    async def store() -> None:
        engine = create_engine(fresh_database_url, PostgresPolicy())
        try:
            registry, repository = PostgresSessionRegistry(engine), PostgresSessionAnalyticsRepository(engine)
            for session_id in ids:
                await registry.register(some_session(session_id, registered_at=datetime.now(UTC)))
                await repository.save(some_analytics(session_id))
                await registry.note(session_id, SessionState.COMPLETED, progress=1.0)
        finally:
            await engine.dispose()

    asyncio.run(store())
    return [str(session_id) for session_id in ids]


def _one_of(node: int, count: int) -> SessionId:
    return next(found for found in iter(new_id, None) if slot_of(found.int % count, count) * PRIMARIES // 16384 == node)


@pytest.fixture
def cluster_url(request: pytest.FixtureRequest) -> str:
    """The cluster's that the test asked for."""
    chosen = "own_cluster" if "own_cluster" in request.fixturenames else "cluster"
    found: Cluster = request.getfixturevalue(chosen)
    return found.url


def inspected(command: Command, session_id: str, url: str) -> Any:
    shown = command("cache", "inspect", "--json", session_id, REDIS_URL=url)
    assert shown.code == OK, shown.err
    return json.loads(shown.out)


def test_sessions_of_all_nodes_are_warmed_inspected_and_invalidated(command: Command, cluster: Cluster, sessions: list[str]) -> None:
    url = cluster.url
    assert inspected(command, sessions[0], url)["found"] == "nothing"
    warmed = command("cache", "warm", "--hours", "1", REDIS_URL=url)
    assert (warmed.code, "6 sessions" in warmed.out) == (OK, True), warmed.err
    entry = inspected(command, sessions[-1], url)
    assert (entry["found"], entry["believed"], entry["version"], entry["lease_s"]) == ("analytics", True, 1, None)
    counted = json.loads(command("cache", "stats", "--json", REDIS_URL=url).out)
    assert (counted["entries"], counted["sampled_entries"]) == (6, 6)

    some = sessions[::EACH]  # One of each node, which no single command to a server can name together.
    dropped = command("cache", "invalidate", *some, REDIS_URL=url)
    assert (dropped.code, "3 dropped" in dropped.out) == (OK, True), dropped.err
    assert [inspected(command, session_id, url)["found"] for session_id in [*some, sessions[-1]]] == ["nothing"] * 3 + ["analytics"]

    assert command("cache", "warm", REDIS_URL=url).code == OK
    everything = command("cache", "invalidate", "--all", REDIS_URL=url)
    assert everything.code == OK, everything.err
    for session_id in some:
        entry = inspected(command, session_id, url)
        assert (entry["found"], entry["believed"]) == ("analytics", False)
    assert "answered by postgres" in command("show", sessions[-1], REDIS_URL=url).out
    assert "answered by redis" in command("show", sessions[-1], REDIS_URL=url).out


def test_health_is_that_of_all_nodes(command: Command, cluster: Cluster) -> None:
    health = command("cache", "health", "--json", REDIS_URL=cluster.url)
    found = json.loads(health.out)
    assert (health.code, found["status"], found["breaker"]) == (OK, "healthy", "closed")
    assert found["server"].endswith("on 3 nodes")
    assert found["round_trip_ms"] > 0
    assert 0 <= found["heartbeat_age_s"] <= 2.0
    assert "on 3 nodes" in command("cache", "health", REDIS_URL=cluster.url).out


@pytest.mark.parametrize("fault", ["killed", "hangs"])
def test_without_one_node_the_commands_say_so_and_do_their_work_on_the_others(
    command: Command, own_cluster: Cluster, sessions: list[str], fault: str
) -> None:
    url, node = own_cluster.url, own_cluster.nodes[0]
    of_the_node, of_others = sessions[:EACH], sessions[EACH:]
    assert command("cache", "warm", REDIS_URL=url).code == OK
    if fault == "killed":
        node.kill()
    else:
        node.send(signal.SIGSTOP)

    health = command("cache", "health", "--json", REDIS_URL=url)
    found = json.loads(health.out)
    assert (health.code, found["status"], found["reason"]) == (SOME_FAILED, "degraded", "1 of 3 nodes does not answer")
    refused = command("cache", "inspect", of_the_node[0], REDIS_URL=url)
    assert (refused.code, "cache health" in refused.err) == (STORAGE, True)
    assert inspected(command, of_others[0], url)["found"] == "analytics"
    warmed = command("cache", "warm", REDIS_URL=url)
    assert (warmed.code, "6 sessions" in warmed.out) == (OK, True), warmed.err

    # What cannot be dropped is said, and does not keep the rest.
    refused = command("cache", "invalidate", of_the_node[0], of_others[0], REDIS_URL=url)
    assert (refused.code, "cache health" in refused.err) == (STORAGE, True)
    assert [inspected(command, session_id, url)["found"] for session_id in of_others[:2]] == ["nothing", "analytics"]
    refused = command("cache", "invalidate", "--all", REDIS_URL=url)
    assert (refused.code, "cache health" in refused.err) == (STORAGE, True)
    assert [inspected(command, session_id, url)["believed"] for session_id in of_others] == [False] * len(of_others)
