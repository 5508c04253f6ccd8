"""Addresses of sentinels."""

from __future__ import annotations

import pytest

from adapters.redis_cache.address import create_client
from adapters.redis_cache.policy import CachePolicy
from adapters.redis_cache.sentinel import FORM, SentinelAddress
from domain.errors import InvalidSettings


def test_an_address_of_sentinels_names_them_their_service_and_the_database() -> None:
    assert SentinelAddress.parse(FORM) == SentinelAddress(
        (("host1", 26379), ("host2", 26379)), "service", 0, {"username": "user", "password": "password"}, {}
    )
    url = "redis+sentinel://:p%40ss@a,b:1,[::1]:2,[::2]/my%2Fservice/3?sentinel_username=u&sentinel_password=s%26"
    assert SentinelAddress.parse(url) == SentinelAddress(
        (("a", 26379), ("b", 1), ("::1", 2), ("::2", 26379)),
        "my/service",
        3,
        {"password": "p@ss"},
        {"username": "u", "password": "s&"},
    )
    assert SentinelAddress.parse("redis+sentinel://a/service").db == 0


@pytest.mark.parametrize(
    "place",
    [
        "",
        "a",
        "a/",
        "/service",
        "a,/service",
        "a:port/service",
        "a/service/db",
        "a/service?password=hunter2",
        "u:hunter2@/service",
        "a/s?x",
    ],
)
def test_what_is_no_address_of_sentinels_is_refused_without_repeating_it(place: str) -> None:
    with pytest.raises(InvalidSettings, match=r"REDIS_URL.*redis\+sentinel://") as caught:
        create_client(f"redis+sentinel://{place}", CachePolicy())
    assert "hunter2" not in str(caught.value)


def test_no_password_is_shown() -> None:
    shown = repr(SentinelAddress.parse("redis+sentinel://u:hunter2@a/service?sentinel_password=hunter3"))
    assert "hunter" not in shown
