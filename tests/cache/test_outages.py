"""A Redis that refuses, hangs, babbles, will not let us in or cannot write: it costs reads of the truth, never an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from adapters.redis_cache.breaker import REFUSED
from adapters.redis_cache.keys import Keys
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.watch import CacheWatch
from domain.errors import InvalidSettings, StorageUnavailable
from domain.ports import Freshness
from domain.session import SessionId
from tests.cache.conftest import BOUND_S, BRISK, QUIET, Caches, WatchedRepository
from tests.patience import eventually
from tests.proxies import Proxy, redis_commands
from tests.servers import OwnRedis
from tests.strategies import edition, new_id, number_of


async def everything_works(cache: Any, *, fresh: bool | None = None) -> None:
    """Reads and writes answer as the truth would; receipts vouch for nothing that Redis did not acknowledge."""
    session_id, other = new_id(), new_id()
    assert await cache.get(session_id) is None
    receipts = [
        await cache.save(edition(session_id, 1)),
        await cache.save(edition(session_id, 2)),
        await cache.save(edition(session_id, 2)),
    ]
    assert [(receipt.version, receipt.changed) for receipt in receipts] == [(1, True), (2, True), (2, False)]
    for freshness in Freshness:
        answer = await cache.get(session_id, freshness=freshness)
        assert answer is not None
        assert (number_of(answer.analytics), answer.version) == (2, 2)
        body = await cache.get_document(session_id, freshness=freshness, at_least=2)
        assert body is not None
        assert body.version == 2
        assert (await cache.get_many([session_id, other], freshness=freshness)).keys() == {session_id}
    receipts.append(await cache.delete(session_id))
    assert receipts[-1].version == 3
    assert await cache.get(session_id) is None
    assert await cache.delete(session_id) is None
    if fresh is not None:
        assert [receipt.fresh for receipt in receipts] == [fresh] * 4


async def in_step_again(cache: Any) -> None:
    """Redis is used again, without anybody's doing."""
    session_id = new_id()
    await cache.save(edition(session_id, 1))

    async def hit() -> bool:
        answer = await cache.get(session_id)
        return answer is not None and answer.source == "redis"

    await eventually(hit, bool)
    await everything_works(cache, fresh=True)


async def number_in(cache: Any, session_id: SessionId) -> int | None:
    answer = await cache.get(session_id)
    return None if answer is None else number_of(answer.analytics)


@pytest.fixture
async def own(own_redis: OwnRedis, caches: Caches) -> AsyncIterator[Any]:
    """A client of the test's own Redis, which the caches use as well."""
    caches.redis_url = own_redis.url
    client = redis.asyncio.Redis.from_url(own_redis.url)
    yield client
    await client.aclose()


async def test_with_a_redis_that_refuses_everything_works(caches: Caches, closed_port: int) -> None:
    cache = await caches.open(BRISK, url=f"redis://127.0.0.1:{closed_port}/0")
    await everything_works(cache, fresh=False)


async def test_with_a_socket_that_is_not_there_everything_works(caches: Caches) -> None:
    await everything_works(await caches.open(BRISK, url="unix:///no/such/redis.sock"), fresh=False)


async def test_with_a_host_without_a_name_everything_works(caches: Caches) -> None:
    await everything_works(await caches.open(BRISK, url="redis://no-such-host.invalid:6379/0"), fresh=False)


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "", "redis://localhost:port", "redis://h/0?no_such_option=1&db=x"])
async def test_what_is_no_url_of_redis_is_refused_without_repeating_it(caches: Caches, url: str) -> None:
    with pytest.raises(InvalidSettings, match="REDIS_URL") as caught:
        await caches.open(url=url or " ")
    assert not url or url not in str(caught.value)


# What listens there is no Redis

BABBLE = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n400 Bad Request",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "noise": bytes(range(256)),
    "a greeting": b"220 mail.example ESMTP\r\n",
    "always OK": b"+OK\r\n",
    "always a number": b":1\r\n",
    "always nothing": b"_\r\n",
    "always nil": b"$-1\r\n",
    "always an empty list": b"*0\r\n",
    "always a list": b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
    "always a map": b"%1\r\n$5\r\nproto\r\n:3\r\n",
    "always an error": b"-ERR unknown command\r\n",
    "always elsewhere": b"-MOVED 1 somewhere.invalid:6379\r\n",
    "always at the same place": b"-MOVED 9842 :6379\r\n",
    "always nowhere": b"-MOVED 99999 a b:99999\r\n",
    "always at no port": b"-MOVED 9842 127.0.0.1:99999\r\n",
    "always slots of nobody": b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$3\r\na/b\r\n:99999\r\n",
    "always slots that there are not": b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n",
    "always slots of its own": b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:1\r\n",
    "an endless line": b"+" + b"x" * 100_000,
    "nothing, and goodbye": b"",
}


@asynccontextmanager
async def babbling(answer: bytes) -> AsyncIterator[str]:
    """A server that gives the same answer to every command, or to whatever it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(answer * max(1, len(redis_commands([piece]))))
                await writer.drain()
                if not answer:
                    break
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


@pytest.mark.parametrize("kind", ["redis", "redis+cluster"])
@pytest.mark.parametrize("answer", BABBLE.values(), ids=BABBLE.keys())
async def test_with_something_else_behind_the_address_everything_works(caches: Caches, answer: bytes, kind: str) -> None:
    async with babbling(answer) as url:
        policy = CachePolicy(heartbeat_s=BOUND_S, command_s=0.05, connect_s=0.05, open_s=0.1, partitions=2)
        cache = await caches.open(policy, url=url.replace("redis://", f"{kind}://"))
        await everything_works(cache, fresh=False)
        await cache.aclose()


async def test_with_a_server_that_accepts_and_never_answers_everything_works(caches: Caches) -> None:
    async with Proxy.to_redis(caches.redis_url) as proxy:
        proxy.answering.clear()
        cache = await caches.open(CachePolicy(heartbeat_s=BOUND_S, command_s=0.05, connect_s=0.05, open_s=0.1), url=proxy.redis_url)
        await everything_works(cache, fresh=False)
        proxy.answering.set()
        await in_step_again(cache)
        await cache.aclose()


async def test_a_hanging_redis_is_asked_a_few_times_and_then_left_alone(caches: Caches) -> None:
    policy = CachePolicy(heartbeat_s=60.0, command_s=0.05, connect_s=0.05, open_s=60.0)
    async with Proxy.to_redis(caches.redis_url) as proxy:
        cache = await caches.open(policy, url=proxy.redis_url)
        proxy.answering.clear()
        for _ in range(policy.failures_to_open + 1):
            await cache.get(new_id())
        sent = len(proxy.sent)
        for _ in range(50):
            await cache.get(new_id())
            await cache.save(edition(new_id(), 1))
        assert len(proxy.sent) == sent
        assert cache.stats.counts()["bypasses_breaker_open"] >= 50
        proxy.answering.set()
        await cache.aclose()


async def test_nobody_waits_while_a_redis_that_hangs_is_tried_again(caches: Caches, truth: WatchedRepository) -> None:
    """To connect may take ten minutes here: whoever waited for that would run out of the test's patience."""
    policy = replace(QUIET, command_s=0.05, connect_s=600.0, open_s=0.01, failures_to_open=1)
    async with Proxy.to_redis(caches.redis_url) as proxy:
        cache = await caches.open(policy, url=proxy.redis_url)
        session_id = new_id()
        await cache.save(edition(session_id, 1))
        proxy.answering.clear()
        assert (await cache.get_many([session_id])).keys() == {session_id}  # A deadline, which opens the breaker.
        async with asyncio.timeout(20):
            for number in range(2, 6):
                await asyncio.sleep(2 * policy.open_s)
                await cache.get_many([session_id])
                assert not (await cache.save(edition(session_id, number))).fresh
                assert await number_in(cache, session_id) == number
        assert cache.stats.counts()["bypasses_reconnecting"] > 0
        assert cache.stats.counts()["breaker_probed"] <= 2  # One probe under way of each kind of connection, all the time.
        proxy.answering.set()
        await in_step_again(cache)
        proxy.answering.clear()
        await cache.get_many([session_id])
        await asyncio.sleep(2 * policy.open_s)
        await cache.get_many([session_id])
        await cache.aclose()  # With the probe under way.


# A Redis of our own, tormented


async def test_a_frozen_redis_costs_no_answer_and_gives_no_older_one_when_it_thaws(
    own: Any, own_redis: OwnRedis, caches: Caches, truth: WatchedRepository
) -> None:
    cache, other = await caches.open(BRISK), await caches.open(BRISK)
    changed, deleted, unknown = new_id(), new_id(), new_id()
    await cache.save(edition(changed, 1))
    await cache.save(edition(deleted, 1))
    for reader in (cache, other):
        assert await reader.get(changed) is not None
        assert await reader.get(unknown) is None
    own_redis.stop()
    saved = await cache.save(edition(changed, 2))
    removed = await cache.delete(deleted)
    created = await cache.save(edition(unknown, 1))
    assert removed is not None
    assert (saved.fresh, removed.fresh, created.fresh) == (False, False, False)
    for reader in (cache, other):
        assert await number_in(reader, changed) == 2
        assert await reader.get(deleted) is None
        assert await number_in(reader, unknown) == 1
    await asyncio.sleep(BOUND_S + 0.02)
    own_redis.cont()
    for _ in range(20):
        for reader in (cache, other):
            assert await number_in(reader, changed) == 2
            assert await reader.get(deleted) is None
            assert await number_in(reader, unknown) == 1
            assert (await reader.get_many([changed, deleted, unknown])).keys() == {changed, unknown}
        await asyncio.sleep(0.02)
    await in_step_again(cache)
    await in_step_again(other)


async def test_what_a_reader_was_promised_holds_through_a_short_freeze(own: Any, own_redis: OwnRedis, caches: Caches) -> None:
    """The heartbeat outlives the freeze, so the old entry may be read from Redis: not by whoever has seen the new version."""
    cache, other = await caches.open(QUIET), await caches.open(QUIET)
    writer = await caches.open(CachePolicy(heartbeat_s=60.0, command_s=0.05, connect_s=0.05))
    session_id = new_id()
    await cache.save(edition(session_id, 1))
    own_redis.stop()
    receipt = await writer.save(edition(session_id, 2))
    own_redis.cont()
    assert not receipt.fresh
    for reader in (cache, other):
        answer = await reader.get(session_id, at_least=receipt.version)
        assert answer is not None
        assert answer.version == 2


async def test_a_redis_that_is_killed_and_comes_back_empty_is_used_again(own: Any, own_redis: OwnRedis, caches: Caches) -> None:
    cache, session_id = await caches.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    own_redis.kill()
    await everything_works(cache, fresh=False)
    receipt = await cache.save(edition(session_id, 2))
    assert not receipt.fresh
    own_redis.start()
    for _ in range(10):
        assert await number_in(cache, session_id) == 2
    await in_step_again(cache)


async def test_a_real_flush_loses_no_acknowledged_write(own: Any, own_redis: OwnRedis, caches: Caches) -> None:
    cache, session_id = await caches.open(BRISK), new_id()
    for number in range(1, 6):
        assert (await cache.save(edition(session_id, number))).version == number
        own_redis.flush()
        assert await number_in(cache, session_id) == number
    await in_step_again(cache)


async def test_a_redis_that_wants_a_password_we_do_not_have(own: Any, caches: Caches) -> None:
    await own.config_set("requirepass", "hunter2")
    cache = await caches.open(BRISK)
    await everything_works(cache, fresh=False)
    await own.config_set("requirepass", "")
    await in_step_again(cache)


@pytest.mark.parametrize("account", ["", ":hunter3@", "guest:hunter3@"])
async def test_a_password_that_redis_refuses_is_told_once_and_by_health(
    own: Any, caches: Caches, account: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await own.config_set("requirepass", "hunter2")
    cache = await caches.open(BRISK, url=caches.redis_url.replace("unix://", f"unix://{account}"))
    await everything_works(cache, fresh=False)
    health = await eventually(cache.inspection.health, lambda health: health.reason == REFUSED)
    assert health.status == "unhealthy"
    assert (await CacheWatch(cache).look()).reason == REFUSED
    await own.config_set("requirepass", "")
    seen = capsys.readouterr()
    assert seen.out.count("cache_refused") == 1
    assert REFUSED in seen.out
    assert "hunter" not in seen.out + seen.err


async def test_a_user_without_rights_to_our_keys(own: Any, caches: Caches) -> None:
    await own.execute_command("ACL", "SETUSER", "guest", "on", ">guest", "~other:*", "+@all")
    cache = await caches.open(BRISK, url=caches.redis_url.replace("unix://", "unix://guest:guest@"))
    await everything_works(cache, fresh=False)


async def test_a_user_that_may_not_run_scripts(own: Any, caches: Caches) -> None:
    await own.execute_command("ACL", "SETUSER", "guest", "on", ">guest", "~*", "+@all", "-@scripting")
    cache = await caches.open(BRISK, url=caches.redis_url.replace("unix://", "unix://guest:guest@"))
    await everything_works(cache, fresh=False)


async def test_a_redis_that_becomes_a_replica(own: Any, caches: Caches) -> None:
    cache, session_id = await caches.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    await own.execute_command("REPLICAOF", "127.0.0.1", "1")
    receipt = await cache.save(edition(session_id, 2))
    assert not receipt.fresh
    await asyncio.sleep(BOUND_S + 0.02)
    assert await number_in(cache, session_id) == 2
    await everything_works(cache, fresh=False)
    await own.execute_command("REPLICAOF", "NO", "ONE")
    assert await number_in(cache, session_id) == 2
    await in_step_again(cache)


async def test_a_redis_without_memory(own: Any, caches: Caches) -> None:
    cache, session_id = await caches.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    await own.config_set("maxmemory-policy", "noeviction")
    await own.config_set("maxmemory", "1")
    await everything_works(cache)
    await cache.save(edition(session_id, 2))
    await asyncio.sleep(BOUND_S + 0.02)
    for _ in range(3):
        assert await number_in(cache, session_id) == 2
    await own.config_set("maxmemory", "0")
    await in_step_again(cache)


async def test_a_redis_that_evicts_whatever_it_can(own: Any, caches: Caches) -> None:
    """Entries, leases, position and heartbeat go at any moment; no acknowledged write is lost for it."""
    cache = await caches.open(BRISK)
    session_ids = [new_id() for _ in range(5)]
    versions: dict[SessionId, int] = {}
    await own.config_set("maxmemory-policy", "allkeys-random")
    used = int((await own.info("memory"))["used_memory"])
    await own.config_set("maxmemory", str(used + 500_000))
    for number in range(60):
        session_id = session_ids[number % 5]
        receipt = await cache.save(edition(session_id, number))
        versions[session_id] = receipt.version
        await own.set(f"filler:{number}", b"x" * 50_000)
        for known, version in versions.items():
            answer = await cache.get(known, freshness=Freshness.FRESH)
            assert answer is not None
            assert answer.version == version
    assert (await own.info("stats"))["evicted_keys"] > 0


async def test_a_redis_that_has_forgotten_the_scripts(own: Any, caches: Caches) -> None:
    cache = await caches.open(QUIET)
    for _ in range(3):
        await own.script_flush()
        await everything_works(cache, fresh=True)


async def test_a_redis_that_is_busy_with_somebodys_endless_script(own: Any, own_redis: OwnRedis, caches: Caches) -> None:
    cache, session_id = await caches.open(BRISK), new_id()
    await cache.save(edition(session_id, 1))
    await own.config_set("lua-time-limit", "10")
    culprit: Any = redis.asyncio.Redis.from_url(own_redis.url)
    endless = asyncio.create_task(culprit.execute_command("EVAL", "while true do end", 0))
    await asyncio.sleep(0.1)
    await everything_works(cache, fresh=False)
    assert not (await cache.save(edition(session_id, 2))).fresh
    assert await number_in(cache, session_id) == 2
    await own.script_kill()
    with pytest.raises(redis.exceptions.ResponseError):
        await endless
    await culprit.aclose()
    await in_step_again(cache)
    await eventually(lambda: number_in(cache, session_id), lambda number: number == 2)


async def test_connections_that_were_cut_are_replaced(own: Any, caches: Caches) -> None:
    cache = await caches.open(replace(QUIET, failures_to_open=100))
    session_id = new_id()
    await cache.save(edition(session_id, 1))
    for _ in range(3):
        await own.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await number_in(cache, session_id) == 1
    answer = await cache.get(session_id)
    assert answer is not None
    assert answer.source == "redis"


async def test_an_answer_that_was_there_in_time_counts_though_the_loop_came_too_late_to_hear_it(caches: Caches) -> None:
    cache = await caches.open(replace(QUIET, command_s=0.05))
    await cache._server.read(["anything"])
    asking = asyncio.create_task(cache._server.read(["anything"]))
    await asyncio.sleep(0.001)
    time.sleep(0.2)  # noqa: ASYNC251 - the loop does something else meanwhile
    assert await asking == [None]


async def test_more_callers_than_connections_are_all_answered(caches: Caches, truth: WatchedRepository) -> None:
    cache = await caches.open(replace(QUIET, connections_max=2))
    session_ids = [new_id() for _ in range(20)]
    for session_id in session_ids:
        await cache.save(edition(session_id, 1))
    truth.reads.clear()
    answers = await asyncio.gather(*(cache.get(session_id) for session_id in session_ids * 10))
    assert all(answer is not None and answer.source == "redis" for answer in answers)
    assert truth.reads == []


# Both away


async def test_with_redis_and_the_truth_away_the_truths_error_is_the_answer(
    caches: Caches, truth: WatchedRepository, closed_port: int
) -> None:
    cache = await caches.open(BRISK, url=f"redis://127.0.0.1:{closed_port}/0")
    truth.failing = True
    for read in (cache.get(new_id()), cache.get_document(new_id()), cache.get_many([new_id()])):
        with pytest.raises(StorageUnavailable):
            await read


async def test_a_write_stands_although_its_warming_fails(caches: Caches, truth: WatchedRepository) -> None:
    cache, session_id = await caches.open(), new_id()
    truth.failing = True
    receipt = await cache.save(edition(session_id, 1))
    assert (receipt.version, receipt.fresh) == (1, True)
    truth.failing = False
    assert await number_in(cache, session_id) == 1


async def test_entries_are_answered_while_the_truth_is_away_and_the_heartbeat_lasts(
    caches: Caches, truth: WatchedRepository, keys: Keys
) -> None:
    cache, session_id = await caches.open(), new_id()
    await cache.save(edition(session_id, 1))
    truth.failing = truth.feed_failing = True
    assert await number_in(cache, session_id) == 1
    with pytest.raises(StorageUnavailable):
        await cache.get(new_id())
