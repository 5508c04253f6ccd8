"""Previews in Redis: bounds, damage, outages, and erasures that Redis hears of late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio as redis
from hypothesis import given
from hypothesis import strategies as st

from adapters.redis_cache import preview_format
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.previews import PreviewPolicy, RedisSignalPreviews, redis_previews
from domain.errors import InvalidSettings
from domain.session import SessionId
from domain.signals import PREVIEW_S_MAX
from tests.patience import eventually
from tests.previews import same, some_preview
from tests.servers import OwnRedis
from tests.strategies import examples, new_id

PATIENT = CachePolicy(command_s=2.0, connect_s=2.0, open_s=0.05)
BRISK = PreviewPolicy(retry_s=0.05)


@asynccontextmanager
async def previews_at(
    url: str, prefix: str, cache: CachePolicy = PATIENT, policy: PreviewPolicy = BRISK
) -> AsyncIterator[RedisSignalPreviews]:
    previews = redis_previews(url, prefix, cache, policy)
    try:
        yield previews
    finally:
        await previews.aclose()


async def in_redis(url: str, look: Callable[[Any], Awaitable[Any]]) -> Any:
    async with redis.Redis.from_url(url, socket_timeout=5) as client:
        return await look(client)


def name_of(prefix: str, session_id: SessionId) -> str:
    return f"{prefix}:previews:{{{session_id}}}"


async def test_other_processes_find_what_one_has_kept(redis_url: str, redis_prefix: str) -> None:
    session_id, preview = new_id(), some_preview()
    async with previews_at(redis_url, redis_prefix) as one, previews_at(redis_url, redis_prefix) as other:
        await one.keep(session_id, preview)
        assert same(await other.find(session_id, preview.key), preview)
        await other.erase(session_id)
        assert await one.find(session_id, preview.key) is None
        await one.keep(session_id, preview)  # It began before the erasure, which another process did.
        assert await one.find(session_id, preview.key) is None


async def test_previews_end_by_themselves(redis_url: str, redis_prefix: str) -> None:
    session_id = new_id()
    async with previews_at(redis_url, redis_prefix) as previews:
        await previews.keep(session_id, some_preview())
        left_s = await in_redis(redis_url, lambda client: client.ttl(name_of(redis_prefix, session_id)))
        assert 3590 < left_s <= 3600
        await previews.erase(session_id)
        left_s = await in_redis(redis_url, lambda client: client.ttl(name_of(redis_prefix, session_id) + ":erased"))
        assert 890 < left_s <= 900


async def test_a_session_has_no_more_previews_than_may_be(redis_url: str, redis_prefix: str) -> None:
    session_id = new_id()
    async with previews_at(redis_url, redis_prefix, policy=PreviewPolicy(session_previews_max=5)) as previews:
        for number in range(30):
            await previews.keep(session_id, some_preview(number))
            assert await previews.find(session_id, some_preview(number).key) is not None  # The newest is not the one that goes.
        assert await in_redis(redis_url, lambda client: client.hlen(name_of(redis_prefix, session_id))) == 5


async def test_a_preview_that_is_too_large_is_not_kept(redis_url: str, redis_prefix: str) -> None:
    session_id, preview = new_id(), some_preview()
    async with previews_at(redis_url, redis_prefix, policy=PreviewPolicy(preview_bytes_max=100)) as previews:
        await previews.keep(session_id, preview)
        assert await previews.find(session_id, preview.key) is None


@given(at=st.integers(0, 10_000), how=st.sampled_from(["flip", "cut", "replace"]), junk=st.binary(max_size=30))
@examples(100)
def test_damaged_bytes_are_no_preview(at: int, how: str, junk: bytes) -> None:
    preview = some_preview()
    data = preview_format.encode(preview)
    at %= len(data)
    damaged = {"flip": data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :], "cut": data[:at], "replace": junk}[how]
    found = preview_format.decode(damaged, preview.key)
    # A flipped bit in the frame's header may be one that means nothing.
    assert found is None or same(found, preview)
    assert preview_format.decode(data, "0" * 64) is None


async def test_what_others_have_put_there_is_as_if_it_were_not_there(redis_url: str, redis_prefix: str) -> None:
    session_id, preview = new_id(), some_preview()
    name = name_of(redis_prefix, session_id)
    async with previews_at(redis_url, redis_prefix) as previews:
        await in_redis(redis_url, lambda client: client.set(name, "no hash"))
        assert await previews.find(session_id, preview.key) is None
        await previews.keep(session_id, preview)
        assert await previews.find(session_id, preview.key) is None
        assert await previews.erase(session_id)
        assert await in_redis(redis_url, lambda client: client.exists(name)) == 0


async def test_a_redis_that_is_gone_or_hangs_is_no_error_and_is_used_again_later(own_redis: OwnRedis, redis_prefix: str) -> None:
    cache = CachePolicy(command_s=0.1, connect_s=0.2, failures_to_open=1, open_s=0.05)
    session_id, preview = new_id(), some_preview()

    async def kept_and_found(previews: RedisSignalPreviews) -> bool:
        await previews.keep(session_id, preview)
        return await previews.find(session_id, preview.key) is not None

    async with previews_at(own_redis.url, redis_prefix, cache) as previews:
        await eventually(lambda: kept_and_found(previews), bool)
        for fail, mend in ((own_redis.stop, own_redis.cont), (own_redis.kill, own_redis.start)):
            fail()
            for _ in range(10):
                assert not await kept_and_found(previews)
            mend()
            await eventually(lambda: kept_and_found(previews), bool)


async def test_an_erasure_that_redis_does_not_hear_is_told_again_until_it_does(own_redis: OwnRedis, redis_prefix: str) -> None:
    cache = CachePolicy(command_s=0.1, connect_s=0.2, failures_to_open=1, open_s=0.05)
    session_id, preview = new_id(), some_preview()
    name = name_of(redis_prefix, session_id)

    async def exists() -> Any:
        return await in_redis(own_redis.url, lambda client: client.exists(name))

    async with previews_at(own_redis.url, redis_prefix, cache) as previews:

        async def kept() -> Any:
            await previews.keep(session_id, preview)
            return await exists()

        await eventually(kept, bool)
        own_redis.stop()
        assert not await previews.erase(session_id)
        own_redis.cont()
        assert await previews.find(session_id, preview.key) is None  # Here it is erased already.
        await eventually(exists, lambda there: not there)
        await previews.keep(session_id, preview)
        assert not await exists()


async def test_an_erasure_that_is_owed_at_the_end_is_told_once_more(own_redis: OwnRedis, redis_prefix: str) -> None:
    cache = CachePolicy(command_s=0.1, connect_s=0.5, failures_to_open=1, open_s=0.01)
    session_id, preview = new_id(), some_preview()
    name = name_of(redis_prefix, session_id)
    previews = redis_previews(own_redis.url, redis_prefix, cache, PreviewPolicy(retry_s=60.0))

    async def kept() -> Any:
        await previews.keep(session_id, preview)
        return await in_redis(own_redis.url, lambda client: client.exists(name))

    await eventually(kept, bool)
    own_redis.stop()
    assert not await previews.erase(session_id)
    own_redis.cont()
    await asyncio.sleep(0.05)
    await previews.aclose()
    assert await in_redis(own_redis.url, lambda client: client.exists(name)) == 0


def test_bounds_are_checked() -> None:
    with pytest.raises(InvalidSettings, match=f"{2 * PREVIEW_S_MAX:g} s"):
        PreviewPolicy(erased_s=PREVIEW_S_MAX)
    for bound in ("ttl_s", "session_previews_max", "preview_bytes_max", "retry_s"):
        with pytest.raises(InvalidSettings, match="above 0"):
            PreviewPolicy(**{bound: 0})
    with pytest.raises(InvalidSettings, match="REDIS_KEY_PREFIX"):
        redis_previews("redis://127.0.0.1:1", "a{b}", PATIENT, BRISK)
