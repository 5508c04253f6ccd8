"""Addresses of clusters, and how partitions lie in them."""

from __future__ import annotations

from collections import Counter

import pytest

from adapters.redis_cache.address import partitions_at, server_at
from adapters.redis_cache.cluster import FORM, ClusterAddress, owners_in
from adapters.redis_cache.keys import Keys, slot_of
from adapters.redis_cache.policy import PARTITIONS_MAX, CachePolicy
from adapters.redis_cache.server import Unavailable
from adapters.redis_cache.stats import CacheStats
from domain.errors import InvalidSettings
from tests.strategies import new_id


def test_an_address_of_a_cluster_names_some_nodes_and_how_all_are_connected_to() -> None:
    address = ClusterAddress.parse(FORM)
    assert address.nodes == (("host1", 6379), ("host2", 6379))
    assert address.url_of(("10.0.0.1", 7000)) == "redis://user:password@10.0.0.1:7000/0?"
    secure = ClusterAddress.parse("rediss+cluster://:p%40ss@a,[::1]:2/0?ssl_ca_certs=/ca.pem")
    assert secure.nodes == (("a", 6379), ("::1", 2))
    assert secure.url_of(("::1", 2)) == "rediss://:p%40ss@[::1]:2/0?ssl_ca_certs=/ca.pem"


@pytest.mark.parametrize("place", ["", "a,", "a:port", "u:hunter2@", "u:hunter2@a/3", "a/service"])
def test_what_is_no_address_of_a_cluster_is_refused_without_repeating_it(place: str) -> None:
    with pytest.raises(InvalidSettings, match=r"REDIS_URL.*redis\+cluster://") as caught:
        server_at(f"redis+cluster://{place}", CachePolicy(), CacheStats())
    assert "hunter2" not in str(caught.value)


def test_no_password_is_shown() -> None:
    assert "hunter" not in repr(ClusterAddress.parse("rediss+cluster://u:hunter2@a?ssl_password=hunter3"))


def test_a_cluster_has_several_partitions_where_nobody_says_and_everything_else_has_one() -> None:
    assert partitions_at("redis+cluster://a") == partitions_at("rediss+cluster://a") == 16
    assert partitions_at("redis://a") == partitions_at("redis+sentinel://a/service") == partitions_at(None) == 1


@pytest.mark.parametrize("partitions", [2, 3, 16, PARTITIONS_MAX])
@pytest.mark.parametrize("nodes", [2, 3, 5, 8, 16])
def test_nodes_with_equal_ranges_of_slots_have_equally_many_partitions(partitions: int, nodes: int) -> None:
    slots = [slot_of(partition, partitions) for partition in range(partitions)]
    assert len(set(slots)) == partitions
    counts = Counter(dict.fromkeys(range(nodes), 0))
    counts.update(slot * nodes // 16384 for slot in slots)
    assert max(counts.values()) - min(counts.values()) <= 2


def test_the_only_partition_keeps_its_name() -> None:
    assert Keys.of("p", new_id()).root.endswith(":{0}")


def test_the_owners_of_slots_are_understood_and_a_node_without_a_name_is_where_it_was_asked() -> None:
    owners = owners_in(
        [[0, 1, [b"a", 7000, b"id", []], [b"replica", 7001, b"id", []]], [3, 3, [b"", 7002, b"id"]], [4, 4, [None, 1, b"id"]]], "here"
    )
    assert owners is not None
    assert owners[:6] == [("a", 7000), ("a", 7000), None, ("here", 7002), ("here", 1), None]


@pytest.mark.parametrize(
    "told",
    [
        Unavailable("timeout"),
        None,
        b"OK",
        [],
        [[]],
        [1, 2, 3],
        [[0, 16384, [b"a", 1, b"id"]]],
        [[5, 4, [b"a", 1, b"id"]]],
        [[0, b"x", [b"a", 1, b"id"]]],
        [[0, 1, [b"a", 99_999, b"id"]]],
        [[0, 1, [b"a/b?", 1, b"id"]]],
        [[0, 1, [b"\xff", 1, b"id"]]],
        [[0, 1, [7, 1, b"id"]]],
        [[0, 1]],
    ],
    ids=repr,
)
def test_what_is_no_answer_to_cluster_slots_is_none(told: object) -> None:
    assert owners_in(told, "here") is None
