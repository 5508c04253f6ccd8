"""`emg-sessions worker` as it is started, before there is anything to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command, emg_sessions

USAGE, STORAGE = 2, 3


def test_a_database_that_is_not_there_ends_it_in_one_line(command: Command) -> None:
    ended = command("worker", DATABASE_URL="postgresql://user:secret-word@127.0.0.1:1/emg")
    assert ended.code == STORAGE
    assert "DATABASE_URL" in ended.err
    assert "secret-word" not in ended.err


def test_a_database_without_the_queue_names_the_command(tmp_path: Path, empty_database_url: str, redis_url: str) -> None:
    run = emg_sessions(tmp_path, {"DATABASE_URL": empty_database_url, "REDIS_URL": redis_url})
    ended = run("worker")
    assert ended.code == STORAGE
    assert "emg-sessions db upgrade" in ended.err


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        (["--concurrency", "0"], {}, "--concurrency"),
        ([], {"WORKER_CONCURRENCY": "many"}, "WORKER_CONCURRENCY"),
        ([], {"PROCESSING_BACKOFF_S": "400"}, "PROCESSING_BACKOFF_S_MAX"),
    ],
)
def test_choices_that_make_no_sense_are_named(command: Command, arguments: list[str], settings: dict[str, str], named: str) -> None:
    ended = command("worker", *arguments, **settings)
    assert ended.code == USAGE
    assert named in ended.err
