"""The names of keys, and the bounds of the cache."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from adapters.postgres.address import asyncpg_arguments, asyncpg_url
from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.redis_cache.keys import Keys, check_prefix
from adapters.redis_cache.policy import CachePolicy
from domain.errors import InvalidSettings
from domain.session import SessionId

STORE = UUID("01234567-89ab-4def-8123-456789abcdef")
SESSION = SessionId(UUID("6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"))


def test_the_names_of_keys_have_not_changed() -> None:
    keys = Keys.of("emg_c3d_analyzer", STORE)
    root = "emg_c3d_analyzer:01234567:{0}"
    assert keys.entry(SESSION) == f"{root}:e:{SESSION}"
    assert keys.lease(SESSION) == f"{root}:l:{SESSION}"
    assert (keys.heartbeat, keys.position, keys.mark, keys.counters) == (f"{root}:hb", f"{root}:w", f"{root}:r", f"{root}:stats")
    assert keys.entries_pattern == f"{root}:e:*"
    assert keys.entries_and_leases([SESSION]) == [keys.entry(SESSION), keys.lease(SESSION)]


def test_of_several_partitions_each_has_names_of_its_own_and_holds_its_sessions() -> None:
    partitions = [Keys.of("p", STORE, number, 3) for number in range(3)]
    assert [keys.root for keys in partitions] == ["p:01234567:3:{3}", "p:01234567:3:{1}", "p:01234567:3:{0}"]
    assert {keys.entries_pattern for keys in partitions} == {"p:01234567:3:{*}:e:*"}
    assert [keys.holds(SESSION) for keys in partitions] == [SESSION.int % 3 == number for number in range(3)]
    assert Keys.of("p", STORE).holds(SESSION)


def test_all_keys_share_one_hash_tag() -> None:
    keys = Keys.of("p", STORE)
    names = [keys.entry(SESSION), keys.lease(SESSION), keys.heartbeat, keys.position, keys.mark, keys.counters]
    assert {name[name.index("{") + 1 : name.index("}")] for name in names} == {"0"}
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("prefix", ["", "{a}", "a}", "a*", "a?", "a[b]", "a b", "a\n", "a\\"], ids=repr)
def test_a_prefix_that_would_break_keys_or_patterns_is_refused(prefix: str) -> None:
    for check in (lambda: check_prefix(prefix), lambda: Keys.of(prefix, STORE)):
        with pytest.raises(InvalidSettings, match="REDIS_KEY_PREFIX"):
            check()


@pytest.mark.parametrize("prefix", ["a", "emg_c3d_analyzer", "team:emg", "größe", "a-b.c"])
def test_ordinary_prefixes_are_accepted(prefix: str) -> None:
    assert Keys.of(prefix, STORE).root.startswith(f"{prefix}:")


def test_the_default_policy_keeps_what_is_promised() -> None:
    policy = CachePolicy()
    assert (policy.ttl_s, policy.heartbeat_s, policy.codec) == (86_400.0, 2.0, "zstd")


@pytest.mark.parametrize(
    "given",
    [
        {"ttl_s": 0.5}, {"ttl_s": float("nan")}, {"ttl_jitter": -0.1}, {"ttl_jitter": 1.0}, {"absent_ttl_s": 0.0},
        {"absent_ttl_s": 100.0, "ttl_s": 50.0}, {"heartbeat_s": 0.1}, {"heartbeat_s": float("nan")}, {"command_s": 0.0},
        {"connect_s": 0.05, "command_s": 0.1}, {"lease_s": 0.5, "follow_s_max": 0.5}, {"follow_s_max": 0.005}, {"follow_poll_s": 0.0},
        {"connections_max": 0}, {"failures_to_open": 0}, {"open_s": 0.0}, {"document_bytes_max": 0}, {"batch_max": 0},
        {"partitions": 0}, {"partitions": 65}, {"inner_reads_max": 0}, {"inner_singles_max": 0}, {"inner_gathered_max": 0},
    ],
)  # fmt: skip
def test_a_bound_that_contradicts_another_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(InvalidSettings):
        CachePolicy(**given)  # type: ignore[arg-type]


NEVER: dict[str, list[float]] = {"float": [-1.0, float("nan"), float("inf")], "int": [-1]}


@pytest.mark.parametrize(
    ("name", "value"), [(field.name, value) for field in fields(CachePolicy) for value in NEVER.get(str(field.type), [])]
)
def test_no_bound_is_negative_or_endless(name: str, value: float) -> None:
    with pytest.raises(InvalidSettings):
        CachePolicy(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {"pool_size": 0},
        {"pool_wait_s": 0},
        {"connect_s": 0},
        {"statement_s": -1},
        {"connection_age_s_max": 0},
        {"statement_s": float("nan")},
        {"connect_s": float("inf")},
        {"ready": -1},
        {"ready_every_s": 0},
    ],
)
def test_a_bound_on_postgresql_that_cannot_be_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(InvalidSettings, match="DATABASE"):
        PostgresPolicy(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://u:p@h:5/d", "postgresql+asyncpg://u:p@h:5/d"),
        ("postgresql://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
        ("postgresql://u:p%40x@h/d", "postgresql+asyncpg://u:p%40x@h/d"),
    ],
)
def test_any_form_of_an_address_becomes_the_drivers(text: str, expected: str) -> None:
    assert asyncpg_url(text).render_as_string(hide_password=False) == expected


@pytest.mark.parametrize("text", ["", "hunter2", "mysql://u:hunter2@h/d", "postgresql://u:hunter2@h", "postgresql://u:hunter2@h:port/d"])
def test_what_is_no_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidSettings, match="DATABASE_URL") as caught:
        asyncpg_url(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("channel_binding=require", "channel_binding"),
        ("foo=hunter2", "foo"),
        ("sslmode=hunter2", "sslmode"),
        ("sslmode=require&sslmode=hunter2", "sslmode"),
        ("connect_timeout=hunter2", "connect_timeout"),
        ("connect_timeout=0", "connect_timeout"),
        ("target_session_attrs=hunter2", "target_session_attrs"),
        ("sslmode=verify-full&sslrootcert=/hunter2", "sslrootcert"),
        ("application_name=hunter2%00", "application_name"),
        ("%0ahunter2=1", "an option"),
    ],
)
def test_an_option_that_cannot_be_kept_is_refused_by_its_name(options: str, named: str) -> None:
    with pytest.raises(InvalidSettings, match=f"DATABASE_URL: {named} ") as caught:
        create_engine(f"postgresql://u@h/d?{options}", PostgresPolicy())
    assert "hunter2" not in str(caught.value)


def test_options_of_an_address_become_the_drivers_arguments(tmp_path: Path) -> None:
    certificate = tmp_path / "root.crt"
    certificate.touch()
    url = asyncpg_url(f"postgresql://u@h/d?sslmode=verify-full&sslrootcert={certificate}&connect_timeout=7&application_name=ours")
    arguments = asyncpg_arguments(url, connect_s=5.0, server_settings={"application_name": "emg-sessions", "jit": "off"})
    assert arguments["timeout"] == 7.0
    assert arguments["server_settings"] == {"application_name": "ours", "jit": "off"}
    assert parse_qs(urlsplit(arguments["dsn"]).query) == {"sslmode": ["verify-full"], "sslrootcert": [str(certificate)]}
