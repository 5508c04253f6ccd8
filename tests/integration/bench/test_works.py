"""The works of the bench on real servers, at a pace that measures nothing: that they run, count right and can be written down."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as redis
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from adapters.entrypoints.bench.documents import session_id_of
from adapters.entrypoints.bench.figures import Findings
from adapters.entrypoints.bench.peers.ours import Ours, OursFar, OursFresh
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.servers import OwnServers, Place, open_servers
from adapters.entrypoints.bench.stage import Stage, open_truth
from adapters.entrypoints.bench.works.batches import batches
from adapters.entrypoints.bench.works.hits import hits
from adapters.entrypoints.bench.works.misses import misses
from adapters.entrypoints.bench.works.readers import readers
from adapters.entrypoints.bench.works.sizes import sizes
from adapters.entrypoints.bench.works.stampede import CALLERS, stampede
from adapters.entrypoints.bench.works.writes import writes
from domain.errors import InvalidSettings
from tests.servers import run_sql

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

Run = Callable[[Stage], Awaitable[Findings]]


@pytest.mark.parametrize("work", [hits, misses, writes, batches, sizes, readers], ids=lambda work: work.__name__)
async def test_a_work_finds_a_figure_for_every_way_and_says_how_each_peer_is_set_up(stage: Stage, work: Run) -> None:
    found = await work(stage)
    assert found.tables
    peers = {peer.peer for peer in found.peers}
    for table in found.tables:
        assert all(0 < row.value.least <= row.value.median <= row.value.most for row in table.rows)
        if table.name not in {"heartbeat", "hits_call_by_call"}:
            assert peers <= {row.way for row in table.rows}
        assert table.reference is None or table.row(table.reference).ratio is not None
    assert len({table.name for table in found.tables}) == len(found.tables)


async def test_of_a_stampede_ours_loads_once_and_the_unprotected_load_again_and_again(stage: Stage) -> None:
    found = await stampede(stage, processes_count=2)
    loads, times = found.tables
    assert loads.row(Ours.name).value.most == 1
    assert loads.row(RedisPy.name).value.least > CALLERS / 2
    assert all(1 <= row.value.least <= row.value.most <= 2 * CALLERS for row in loads.rows)
    assert all(row.value.least > 0 for row in times.rows)


async def test_what_is_timed_as_a_hit_is_one(stage: Stage) -> None:
    """Each of ours answers from where its name says, and without a load."""
    stage = stage.with_prefix("sources")
    await stage.truth.fill(stage.documents.recorded, [200_000])
    for kind, source in ((Ours, "near"), (OursFresh, "redis"), (OursFar, "redis")):
        peer = kind(stage.place, stage.truth)
        await peer.open()
        try:
            await peer.warm([200_000], stage.documents.recorded)
            await peer.settle([200_000])
            loads = stage.truth.repository.loads
            answers = [await peer.repository.get(session, freshness=peer.freshness) for session in [session_id_of(200_000)] * 5]
            assert {answer.source for answer in answers if answer} == {source}
            assert stage.truth.repository.loads == loads
        finally:
            await peer.aclose()


async def test_a_run_on_given_servers_leaves_them_as_they_were_even_if_it_fails(postgres_server: str) -> None:
    foreign = f"somebody_{secrets.token_hex(4)}"
    own = OwnServers()
    try:
        redis_url = await own.open_redis()
        async with redis.Redis.from_url(redis_url) as client:
            await client.set(foreign, b"precious")
            places: list[Place] = []

            async def run() -> None:
                async with open_servers(postgres_server, redis_url) as place, open_truth(place.database_url) as truth:
                    places.append(place)
                    await client.mset({f"{place.key_prefix}:1": b"1", f"cashews:{place.key_prefix}:2": b"2"})
                    async with truth.engine.connect() as connection:  # Which stays in the pool.
                        await connection.execute(sa.text("SELECT count(*) FROM session_analytics"))
                    raise ConnectionError

            with pytest.raises(ConnectionError):
                await run()
            assert await client.keys("*") == [foreign.encode()]
        assert places[0].own is None
        name = make_url(places[0].database_url).database
        assert run_sql(postgres_server, f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == 0
    finally:
        await own.aclose()


@pytest.mark.parametrize("url", ["nonsense", "redis://127.0.0.1:1/0", "unix:///run/redis.sock", "rediss://127.0.0.1/0", "redis://"])
async def test_a_redis_that_cannot_be_used_by_all_is_refused_before_a_database_is_made(url: str) -> None:
    nowhere = "postgresql://127.0.0.1:1/none"  # Which would be complained of, if it were asked.
    with pytest.raises(InvalidSettings, match="--redis-url"):
        async with open_servers(nowhere, url):
            pass


async def test_a_database_server_that_cannot_be_used_is_told() -> None:
    with pytest.raises(InvalidSettings, match="--database-url"):
        async with open_servers("postgresql://127.0.0.1:1/none", None):
            pass
