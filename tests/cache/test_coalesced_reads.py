"""Reads that leave together: counted at the wire, with a server that dies, hangs or is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from adapters.redis_cache.address import create_client
from adapters.redis_cache.batch import header_question
from adapters.redis_cache.breaker import Breaker, BreakerState
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.reads import CoalescedReads
from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.stats import CacheStats
from tests.patience import eventually
from tests.proxies import Proxy, redis_commands
from tests.servers import OwnRedis

POLICY = CachePolicy(command_s=0.3, connect_s=0.6, open_s=0.1)


@asynccontextmanager
async def reading(url: str, policy: CachePolicy = POLICY, stats: CacheStats | None = None) -> AsyncIterator[tuple[CoalescedReads, Breaker]]:
    client = create_client(url, policy)
    breaker = Breaker(policy.failures_to_open, policy.open_s)
    reads = CoalescedReads(client, breaker, policy, stats)
    try:
        yield reads, breaker
    finally:
        await reads.aclose()
        await client.aclose()


@asynccontextmanager
async def filled(url: str, prefix: str, count: int) -> AsyncIterator[list[str]]:
    names = [f"{prefix}:{number}" for number in range(count)]
    client = create_client(url, POLICY)
    await client.mset({name: name for name in names} | {f"{prefix}:hb": "beat"})
    try:
        yield names
    finally:
        await client.delete(*names, f"{prefix}:hb")
        await client.aclose()


async def test_reads_of_one_turn_leave_as_one_mget_with_each_key_once(redis_url: str, redis_prefix: str) -> None:
    heartbeat = f"{redis_prefix}:hb"
    async with filled(redis_url, redis_prefix, 31) as names, Proxy.to_redis(redis_url) as proxy, reading(proxy.redis_url) as (reads, _):
        await reads.read(names[0], heartbeat)
        proxy.sent.clear()
        answers = await asyncio.gather(*(reads.read(name, heartbeat) for name in [*names, *names]))
        assert answers == [(name.encode(), b"beat") for name in [*names, *names]]
        assert redis_commands(proxy.sent) == ["MGET"]
        assert sum(piece.count(names[7].encode() + b"\r\n") for piece in proxy.sent) == 1


async def test_many_reads_of_one_turn_leave_as_two_halves_so_that_both_sides_work(redis_url: str, redis_prefix: str) -> None:
    heartbeat = f"{redis_prefix}:hb"
    async with filled(redis_url, redis_prefix, 64) as names, Proxy.to_redis(redis_url) as proxy, reading(proxy.redis_url) as (reads, _):
        await reads.read(names[0], heartbeat)
        proxy.sent.clear()
        assert await asyncio.gather(*(reads.read(name, heartbeat) for name in names)) == [(name.encode(), b"beat") for name in names]
        assert redis_commands(proxy.sent) == ["MGET", "MGET"]


async def test_headers_are_read_alone_in_one_transaction_with_the_heartbeat(redis_url: str, redis_prefix: str) -> None:
    heartbeat = f"{redis_prefix}:hb"
    client = create_client(redis_url, POLICY)
    async with Proxy.to_redis(redis_url) as proxy, reading(proxy.redis_url) as (reads, _):
        names = [f"{redis_prefix}:{number}" for number in range(3)]
        await client.mset({names[0]: b"h" * 64 + b"payload", names[1]: b"short", heartbeat: b"beat"})
        await client.lpush(f"{redis_prefix}:list", "of another type")
        await reads.read(names[0], heartbeat)
        proxy.sent.clear()
        asked = [*names, f"{redis_prefix}:list"]
        answers = await asyncio.gather(*(reads.read_header(header_question(name), heartbeat) for name in [*asked, *asked]))
        assert answers == [(b"h" * 64, b"beat"), (b"short", b"beat"), (b"", b"beat"), (None, b"beat")] * 2
        assert redis_commands(proxy.sent) == ["MULTI", *["GETRANGE"] * 4, "GET", "EXEC"]
        whole, header = await asyncio.gather(reads.read(names[0], heartbeat), reads.read_header(header_question(names[0]), heartbeat))
        assert (whole, header) == ((b"h" * 64 + b"payload", b"beat"), (b"h" * 64, b"beat"))
        await client.delete(*asked, heartbeat)
    await client.aclose()


async def test_a_server_that_refuses_headers_says_no_and_stays_in_step(own_redis: OwnRedis) -> None:
    client = create_client(own_redis.url, POLICY)
    await client.acl_setuser("reader", enabled=True, passwords=["+word"], keys=["*"], commands=["+@all", "-getrange"])
    place, _, query = own_redis.url.partition("?")
    url = place.replace("unix://", "unix://reader:word@") + (f"?{query}" if query else "")
    async with reading(url) as (reads, breaker):
        assert await reads.read_header(header_question("a"), "hb") == Unavailable("response")
        for _ in range(5):
            assert await reads.read("a", "hb") == (None, None)
        assert breaker.state is BreakerState.CLOSED
    await client.aclose()


async def test_what_is_asked_meanwhile_gathers_for_the_next_mget(redis_url: str, redis_prefix: str) -> None:
    heartbeat = f"{redis_prefix}:hb"
    async with filled(redis_url, redis_prefix, 30) as names, Proxy.to_redis(redis_url) as proxy, reading(proxy.redis_url) as (reads, _):
        await reads.read(names[0], heartbeat)
        proxy.sent.clear()
        proxy.answering.clear()
        waiting = []
        for name in names:
            waiting.append(asyncio.ensure_future(reads.read(name, heartbeat)))
            await asyncio.sleep(0.001)
        proxy.answering.set()
        assert await asyncio.gather(*waiting) == [(name.encode(), b"beat") for name in names]
        assert len(redis_commands(proxy.sent)) == 3


async def test_more_keys_than_one_mget_takes_are_several(redis_url: str, redis_prefix: str) -> None:
    heartbeat = f"{redis_prefix}:hb"
    async with filled(redis_url, redis_prefix, 700) as names, reading(redis_url) as (reads, _):
        assert await asyncio.gather(*(reads.read(name, heartbeat) for name in names)) == [(name.encode(), b"beat") for name in names]


async def test_a_cancelled_reader_touches_nobody_else(redis_url: str, redis_prefix: str) -> None:
    heartbeat = f"{redis_prefix}:hb"
    async with filled(redis_url, redis_prefix, 2) as names, reading(redis_url) as (reads, _):
        one, other = (asyncio.ensure_future(reads.read(names[0], heartbeat)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        assert await other == (names[0].encode(), b"beat")
        for _ in range(50):  # No answer ever goes to another question.
            assert await reads.read(names[1], heartbeat) == (names[1].encode(), b"beat")


async def test_a_server_that_hangs_costs_everybody_one_deadline_and_is_used_again_later(own_redis: OwnRedis) -> None:
    async with reading(own_redis.url) as (reads, breaker):
        assert await reads.read("a", "hb") == (None, None)
        own_redis.stop()
        begin = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(reads.read(f"key {number}", "hb") for number in range(20)))
        assert set(answers) == {Unavailable("slow")}
        assert await reads.read("a", "hb") == Unavailable("slow")
        await eventually(lambda: reads.read("a", "hb"), lambda answer: answer == Unavailable("reconnecting"))
        assert asyncio.get_running_loop().time() - begin < 3 * POLICY.command_s
        own_redis.cont()
        await eventually(lambda: reads.read("a", "hb"), lambda answer: answer == (None, None))
        assert breaker.state is BreakerState.CLOSED


async def test_readers_lose_their_patience_before_the_connection_does(redis_url: str, redis_prefix: str) -> None:
    heartbeat = f"{redis_prefix}:hb"
    policy = replace(POLICY, command_s=2.0, connect_s=2.0)
    stats = CacheStats()
    async with (
        filled(redis_url, redis_prefix, 3) as names,
        Proxy.to_redis(redis_url) as proxy,
        reading(proxy.redis_url, policy, stats) as (reads, breaker),
    ):
        await reads.read(names[0], heartbeat)
        proxy.sent.clear()
        proxy.answering.clear()
        asked = asyncio.ensure_future(reads.read(names[0], heartbeat))
        await asyncio.sleep(0.1)
        gathered = asyncio.ensure_future(reads.read(names[1], heartbeat))
        assert set(await asyncio.gather(asked, gathered)) == {Unavailable("slow")}
        assert await reads.read(names[2], heartbeat) == Unavailable("slow"), "who comes later need not find out again"
        proxy.answering.set()
        # The answer that comes after all is nobody's; the connection goes on.
        await eventually(lambda: reads.read(names[2], heartbeat), lambda answer: answer == (names[2].encode(), b"beat"))
        assert redis_commands(proxy.sent) == ["MGET"] * 3
        assert breaker.state is BreakerState.CLOSED
        assert stats.snapshot().counters["redis_timeouts"] == 0


async def test_an_answer_that_was_there_in_time_counts_though_the_loop_came_too_late_to_hear_it(redis_url: str, redis_prefix: str) -> None:
    heartbeat = f"{redis_prefix}:hb"
    async with filled(redis_url, redis_prefix, 1) as names, reading(redis_url) as (reads, _):
        await reads.read(names[0], heartbeat)
        asked = asyncio.ensure_future(reads.read(names[0], heartbeat))
        await asyncio.sleep(0.001)  # It leaves.
        time.sleep(2 * POLICY.command_s)  # noqa: ASYNC251 - the loop does something else meanwhile
        assert await asked == (names[0].encode(), b"beat")


async def test_a_server_that_dies_is_noticed_and_found_again(own_redis: OwnRedis) -> None:
    async with reading(own_redis.url) as (reads, breaker):
        assert await reads.read("a", "hb") == (None, None)
        own_redis.kill()
        await asyncio.sleep(0.05)
        assert await reads.read("a", "hb") == Unavailable("connection")
        assert breaker.state is BreakerState.OPEN
        assert await reads.read("a", "hb") == Unavailable("breaker_open")
        own_redis.start()
        await eventually(lambda: reads.read("a", "hb"), lambda answer: answer == (None, None))


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*3\r\n$1\r\na\r\n",
        b"+OK\r\n" * 50,
        b"\x00" * 100,
        b"*2\r\n:1\r\n:2\r\n" * 9,
        b"$3\r\nabc\r\n" * 9,
        b"*0\r\n" * 9,
    ],
)
async def test_a_server_that_speaks_garbage_is_unavailable(garbage: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(garbage)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, reading(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0") as (reads, _):
        for _ in range(3):
            assert isinstance(await reads.read("a", "hb"), Unavailable)


async def test_the_database_and_the_password_of_the_address_are_used(own_redis: OwnRedis) -> None:
    client = create_client(own_redis.url, POLICY)
    await client.config_set("requirepass", "word")
    await client.aclose()
    place = own_redis.url.partition("?")[0]
    async with reading(f"{place}?password=word&db=3") as (reads, _):
        other = create_client(f"{place}?password=word&db=3", POLICY)
        await other.set("a", "of db 3")
        await other.aclose()
        assert await reads.read("a", "hb") == (b"of db 3", None)
    async with reading(f"{place}?password=wrong") as (reads, _):
        assert isinstance(await reads.read("a", "hb"), Unavailable)


async def test_closing_tells_whoever_still_waits(own_redis: OwnRedis) -> None:
    async with reading(own_redis.url, CachePolicy(command_s=20.0, connect_s=20.0)) as (reads, _):
        assert await reads.read("a", "hb") == (None, None)
        own_redis.stop()
        waiting = asyncio.ensure_future(reads.read("a", "hb"))
        await asyncio.sleep(0.05)
        await reads.aclose()
        assert await waiting == Unavailable("connection")
        own_redis.cont()
