"""What users type, see and get back, on real servers."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from adapters.queue.connections import QueueConnections
from adapters.settings import load_settings
from container import resolve, running
from domain.signals import SignalRequest
from tests.cli.conftest import Command, emg_sessions
from tests.servers import server_folder

UNKNOWN = "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"
OK, SOME_FAILED, USAGE, STORAGE = 0, 1, 2, 3


def session_ids(text: str) -> list[str]:
    return re.findall(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", text)


@contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """A server that accepts and gives this answer to whatever it is asked; None: never any."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        clients: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                clients.append(client)
                if answer is not None:
                    with client:
                        client.recv(1024)
                        client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for client in clients:
            client.close()
        thread.join(5)


def become(database_url: str, revision: str) -> None:
    with psycopg.connect(QueueConnections(database_url=database_url).conninfo()) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [revision])


def test_a_folder_is_processed_and_each_session_is_shown_from_the_cache(command: Command, recordings: list[Path]) -> None:
    processed = command("process", recordings[0].parent)
    assert processed.code == OK, processed.err
    ids = session_ids(processed.out)
    assert len(ids) == 2
    assert processed.out.count("analysed") == 2
    assert re.search(r"compliance,.*mean over.*channels", processed.out, re.DOTALL), "it is not the good of all"
    shown = command("show", ids[0])
    assert shown.code == OK
    assert "session 1.c3d" in shown.out
    assert re.search(r"answered by redis in [\d.]+ ms, version 1", shown.out)
    assert re.search(r"overall compliance .*mean over channels", shown.out)
    assert "estimated" in shown.out


def test_processing_again_finds_the_same_sessions_known(command: Command, recordings: list[Path]) -> None:
    first = command("process", *recordings)
    copy = recordings[0].with_name("renamed copy.c3d")
    copy.write_bytes(recordings[0].read_bytes())
    again = command("process", *recordings, copy)
    assert again.code == OK
    assert sorted(set(session_ids(again.out))) == sorted(session_ids(first.out))
    assert again.out.count("known") == 3
    assert again.out.count("v1") == 3


def test_a_maximum_that_was_measured_takes_the_place_of_the_estimate(command: Command, recordings: list[Path]) -> None:
    estimated = json.loads(command("process", "--json", recordings[0]).out)
    given = command("process", "--json", recordings[0], "--mvc", "CH1=0.0004", "--mvc", "0.0002", MVC_SESSION="1")
    assert given.code == OK, given.err
    first, second = json.loads(given.out)["channels"]
    assert [channel["mvc"]["source"] for channel in estimated["channels"]] == ["estimated"] * 2
    assert first["mvc"] == {"value": 0.0004, "source": "channel", "threshold": pytest.approx(0.0003), "threshold_percent": 75.0}
    assert second["mvc"] == {"value": 0.0002, "source": "session", "threshold": pytest.approx(0.00015), "threshold_percent": 75.0}
    again = command("process", "--json", recordings[0], MVC_SESSION="1", MVC_CHANNELS="CH2=1")
    assert again.out == given.out, "what was given stays with the session, and goes before the settings"
    by_settings = json.loads(command("process", "--json", recordings[1], MVC_SESSION="0.0002", MVC_CHANNELS="CH1=0.0004").out)
    assert [channel["mvc"] for channel in by_settings["channels"]] == [first["mvc"], second["mvc"]]
    assert "which no recording has" not in given.err
    mistyped = command("process", recordings[0], "--mvc", "CH9=0.0004")
    assert mistyped.code == OK
    assert "'CH9', which no recording has" in mistyped.err


@pytest.mark.parametrize("option", ["CH1", "CH1=", "CH1=much", "0", "-1", "CH1=nan", "CH1=inf", "=1"])
def test_a_maximum_that_makes_no_sense_is_told(command: Command, recordings: list[Path], option: str) -> None:
    refused = command("process", recordings[0], f"--mvc={option}")
    assert refused.code == USAGE
    assert "CHANNEL=VALUE" in refused.err
    assert repr(option) in refused.err


def test_recordings_are_processed_for_a_patient_who_then_stays(command: Command, recordings: list[Path]) -> None:
    assert command("process", recordings[0]).code == OK
    for _ in range(2):
        assert command("process", *recordings, "--patient", "P042").code == OK
    other = command("process", *recordings, "--patient", "P043")
    assert other.code == SOME_FAILED
    assert other.err.count("its session has another patient") == len(recordings)
    assert command("process", *recordings).code == OK


@pytest.mark.parametrize("code", ["", "../P042", "P 42", "P" * 65, "-P042"])
def test_a_patient_that_is_none_is_told(command: Command, recordings: list[Path], code: str) -> None:
    refused = command("process", recordings[0], f"--patient={code}")
    assert refused.code == USAGE
    assert "1 to 64 letters" in refused.err


def test_json_is_one_document_a_recording_in_order_and_nothing_else_on_standard_output(command: Command, recordings: list[Path]) -> None:
    processed = command("process", "--json", *reversed(recordings))
    documents = [json.loads(line) for line in processed.out.splitlines()]
    assert [document["recording"]["file_name"] for document in documents] == ["session 2.c3d", "session 1.c3d"]
    assert all(document["schema"] == 1 for document in documents)
    shown = command("show", "--json", documents[0]["session_id"])
    assert json.loads(shown.out) | {"path": str(recordings[1])} == documents[0]
    assert "answered by redis" in shown.err


def test_one_bad_file_does_not_stop_the_rest_and_the_exit_code_says_so(command: Command, recordings: list[Path]) -> None:
    bad = recordings[0].with_name("broken.c3d")
    bad.write_bytes(recordings[0].read_bytes()[:2000])
    empty = recordings[0].with_name("empty.c3d")
    empty.touch()
    processed = command("process", "--json", recordings[0].parent)
    assert processed.code == SOME_FAILED
    assert len(processed.out.splitlines()) == 2
    assert re.search(r"failed: broken\.c3d: \S", processed.err)
    assert re.search(r"failed: empty\.c3d: .*empty", processed.err)


def test_nothing_is_left_in_the_temporary_folder(command: Command, recordings: list[Path]) -> None:
    with server_folder() as folder:
        assert command("process", *recordings, TMPDIR=str(folder)).code == OK
        assert [left.name for left in folder.iterdir() if left.name != "owner.lock"] == []


def test_nothing_is_stored_of_a_recording_that_cannot_be_analysed(command: Command, tmp_path: Path) -> None:
    bad = tmp_path / "noise.c3d"
    bad.write_bytes(b"no recording at all" * 1000)
    assert command("process", bad).code == SOME_FAILED
    statistics = json.loads(command("cache", "stats", "--json").out)
    assert statistics["performance_stats"]["invalidations"] == 0


@pytest.mark.parametrize(
    ("session_id", "said", "code"),
    [("6f1c", "is not a session id", USAGE), (UNKNOWN, "there is no session", SOME_FAILED), ("' OR 1=1", "is not a", USAGE)],
)
def test_an_unknown_or_malformed_session_id_is_said_to_be_one(command: Command, session_id: str, said: str, code: int) -> None:
    shown = command("show", session_id)
    assert shown.code == code
    assert shown.out == ""
    assert said in shown.err


def test_a_path_that_is_not_there_is_named(command: Command, tmp_path: Path) -> None:
    missing = command("process", tmp_path / "nowhere")
    assert missing.code == USAGE
    assert "nowhere" in missing.err
    (tmp_path / "hollow").mkdir()
    hollow = command("process", tmp_path / "hollow")
    assert hollow.code == USAGE
    assert "no .c3d file" in hollow.err


def test_cache_statistics_count_over_processes(command: Command, recordings: list[Path]) -> None:
    ids = session_ids(command("process", *recordings).out)
    before = json.loads(command("cache", "stats", "--json").out)
    for _ in range(3):
        command("show", ids[0])
    after = json.loads(command("cache", "stats", "--json").out)
    assert after["entries"] == 2
    assert 500 < after["entry_bytes_mean"] < 10_000
    assert after["performance_stats"]["hits"] - before["performance_stats"]["hits"] == 3
    assert 0 < after["performance_stats"]["hit_rate"] < 1
    assert after["compression_ratio"] > 1
    assert after["heartbeat_age_s"] is None or 0 <= after["heartbeat_age_s"] <= 2.0
    for tier in ("redis", "database"):
        times = after["latencies"][tier]
        assert times["count"] >= 2
        assert 0 < times["p50_s"] <= times["p95_s"] <= times["p99_s"]
    assert after["latencies"]["redis"]["count"] - before["latencies"]["redis"]["count"] == 3
    assert after["performance_stats"]["relay_passes"] > 0
    assert after["performance_stats"]["sampled_beyond_bound"] == 0
    assert after["this_process"]["breaker_state"] == 0


def test_cache_statistics_are_grouped_and_say_what_happened_alone(command: Command, recordings: list[Path]) -> None:
    command("show", session_ids(command("process", *recordings).out)[0])
    lines = [" ".join(line.strip("│").split()) for line in command("cache", "stats").out.splitlines()]
    for begins in ("hit rate", "compressed", "heartbeat", "outdated", "answered by timed p50 p95 p99", "near ", "redis ", "database "):
        assert any(line.startswith(begins) for line in lines), begins
    assert any(line.startswith("reads") for line in lines)
    assert any(line.startswith("relay relay passes") for line in lines)
    assert not any("damaged" in line or "breaker" in line for line in lines)


def test_a_database_that_fails_on_purpose_says_which_setting_it_is(command: Command, recordings: list[Path]) -> None:
    session_id = session_ids(command("process", recordings[0]).out)[0]
    shown = command("show", session_id, CACHE="none", CHAOS_FAILURE_RATE="1")
    assert shown.code == STORAGE
    assert "CHAOS_FAILURE_RATE" in shown.err
    assert command("show", session_id, CACHE="none", CHAOS_LATENCY_MS="1").code == OK


def test_cache_health_says_healthy_and_how_fast(command: Command) -> None:
    health = command("cache", "health", "--json")
    found = json.loads(health.out)
    assert health.code == OK
    assert found["status"] == "healthy"
    assert found["round_trip_ms"] > 0
    assert 0 <= found["heartbeat_age_s"] <= 2.0
    assert 0 <= found["relay_lag_s"] < 60
    assert found["breaker"] == "closed"
    assert "healthy" in command("cache", "health").out


def test_cache_health_says_unhealthy_where_nothing_listens(command: Command) -> None:
    health = command("cache", "health", "--json", REDIS_URL="redis://127.0.0.1:1/0")
    assert health.code == SOME_FAILED
    assert json.loads(health.out)["status"] == "unhealthy"


def test_without_a_cache_the_cache_commands_say_which_setting_it_is(command: Command) -> None:
    health = command("cache", "health", CACHE="none")
    assert health.code == USAGE
    assert "CACHE" in health.err


def test_everything_works_without_a_cache(command: Command, recordings: list[Path]) -> None:
    ids = session_ids(command("process", *recordings, CACHE="none").out)
    shown = command("show", ids[0], CACHE="none")
    assert shown.code == OK
    assert "answered by postgres" in shown.out


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-NOAUTH Authentication required.\r\n", None], ids=["http", "noauth", "hangs"]
)
def test_a_redis_that_is_none_costs_nothing_but_the_cache(command: Command, recordings: list[Path], answer: bytes | None) -> None:
    with listener(answer) as address:
        url = f"redis://:secret-word@{address}/0"
        processed = command("process", *recordings, REDIS_URL=url)
        assert processed.code == OK, processed.err
        shown = command("show", session_ids(processed.out)[0], REDIS_URL=url)
        assert shown.code == OK
        assert "answered by postgres" in shown.out
        assert "secret-word" not in processed.err + shown.err
        assert command("cache", "stats", REDIS_URL=url).code == STORAGE


def test_a_database_that_does_not_answer_is_said_in_one_line(command: Command, recordings: list[Path]) -> None:
    with listener(None) as address:
        url = f"postgresql://user:secret-word@{address}/emg"
        processed = command("process", *recordings, DATABASE_URL=url, DATABASE_CONNECT_TIMEOUT_S="1")
    assert processed.code == STORAGE
    assert "did not answer in time" in processed.err
    assert "secret-word" not in processed.err


def test_a_database_that_is_not_there_is_said_in_one_line(command: Command) -> None:
    shown = command("show", UNKNOWN, DATABASE_URL="postgresql://user:secret-word@127.0.0.1:1/emg")
    assert shown.code == STORAGE
    assert "DATABASE_URL" in shown.err
    assert "secret-word" not in shown.err


def test_a_command_that_analyses_nothing_does_not_wait_for_the_filters() -> None:
    """scipy.signal alone would double the time that a command takes to start."""
    asks = "import sys, adapters.entrypoints.show, adapters.entrypoints.serve; sys.exit('scipy.signal' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asks], check=False, timeout=100).returncode == 0


def test_a_database_without_our_tables_names_the_command(tmp_path: Path, empty_database_url: str, redis_url: str) -> None:
    url = empty_database_url.replace("postgresql+asyncpg", "postgresql")
    run = emg_sessions(tmp_path, {"DATABASE_URL": url, "REDIS_URL": redis_url})
    shown = run("show", UNKNOWN)
    assert shown.code == STORAGE
    assert "emg-sessions db upgrade" in shown.err
    assert "revision 0004" in run("db", "upgrade").out
    assert "up to date" in run("db", "upgrade").out
    assert run("show", UNKNOWN).code == SOME_FAILED


def test_a_schema_of_a_newer_program_is_none_of_an_older_ones_business(tmp_path: Path, empty_database_url: str, redis_url: str) -> None:
    run = emg_sessions(tmp_path, {"DATABASE_URL": empty_database_url, "REDIS_URL": redis_url})
    assert run("db", "upgrade").code == OK
    become(empty_database_url, "9999")
    upgraded = run("db", "upgrade")
    assert (upgraded.code, upgraded.out) == (OK, "the schema (revision 9999) is newer than this program (0004); nothing to do\n")
    become(empty_database_url, "garbage")
    upgraded = run("db", "upgrade")
    assert upgraded.code == STORAGE
    assert "alembic_version" in upgraded.err


@pytest.mark.parametrize(
    ("name", "value"),
    [("STORAGE", "mongo"), ("CACHE", "memcached"), ("DEFAULT_CACHE_TTL_HOURS", "-1"), ("DATABASE_URL", "mysql://u:secret-word@h/d"),
     ("DATABASE_URL", "secret-word"), ("REDIS_URL", "http://u:secret-word@h"), ("REDIS_KEY_PREFIX", "a{b}"),
     ("REDIS_COMMAND_TIMEOUT_MS", "many")],
)  # fmt: skip
def test_a_wrong_setting_is_named(command: Command, name: str, value: str) -> None:
    shown = command("show", UNKNOWN, **{name: value})
    assert shown.code == USAGE
    assert name in shown.err
    assert "secret-word" not in shown.err


def test_the_demo_takes_recordings_and_draws_one(command: Command, recordings: list[Path]) -> None:
    demo = command("demo", *recordings, "--reads", "5")
    assert demo.code == OK, demo.err
    assert "postgres" in demo.out
    assert "redis" in demo.out
    assert "contractions" in demo.out
    assert "⡇" in demo.out


def test_the_demo_makes_recordings_and_runs_on_embedded_servers_that_keep_their_data(tmp_path: Path, data_folder: Path) -> None:
    run = emg_sessions(tmp_path, {"DATA_DIR": str(data_folder)})
    demo = run("demo", "--reads", "3")
    assert demo.code == OK, demo.err
    ids = session_ids(demo.out)
    shown = run("show", ids[0])
    assert shown.code == OK, shown.err
    assert "answered by redis" in shown.out
    assert shown.out.count("CH") == 2


async def test_what_the_demo_made_up_shows_its_signals_and_is_nobodys(command: Command, fresh_database_url: str, tmp_path: Path) -> None:
    for _ in range(2):
        demo = command("demo", "--reads", "1", DATA_DIR=str(tmp_path))
        assert demo.code == OK, demo.err
    async with running(load_settings(database_url=fresh_database_url, cache="none", data_dir=tmp_path, analysis_processes=1)) as app:
        sessions = await (await resolve(app.session_registry)).recent(10)
        signals = await resolve(app.session_signals)
        assert [session.patient_code for session in sessions] == ["DEMO"] * 3
        plan = await signals.plan(sessions[0], SignalRequest())
        assert plan is not None
        assert all(len(signal.values) for signal in (await signals.answer(sessions[0], plan)).preview.signals)


async def test_recordings_of_ones_own_are_not_the_demos(
    command: Command, recordings: list[Path], fresh_database_url: str, tmp_path: Path
) -> None:
    demo = command("demo", *recordings, "--reads", "1", DATA_DIR=str(tmp_path))
    assert demo.code == OK, demo.err
    async with running(load_settings(database_url=fresh_database_url, cache="none", data_dir=tmp_path)) as app:
        sessions = await (await resolve(app.session_registry)).recent(10)
    assert [(session.patient_code, session.recording_key) for session in sessions] == [(None, None)] * 2


def test_the_demo_runs_in_memory_alone(tmp_path: Path) -> None:
    demo = emg_sessions(tmp_path, {"STORAGE": "memory", "CACHE": "none"})("demo", "--reads", "3")
    assert demo.code == OK, demo.err
    assert "CACHE=none" in demo.out


def test_help_shows_an_example_for_every_command(tmp_path: Path) -> None:
    run = emg_sessions(tmp_path, {})
    for words in (["process"], ["show"], ["demo"]):
        shown = run(*words, "--help")
        assert shown.code == OK
        assert re.search(r"Examples?: \S*emg-sessions", shown.out)


def test_the_cache_is_warmed_inspected_and_invalidated(command: Command, recordings: list[Path]) -> None:
    ids = session_ids(command("process", *recordings, CACHE="none").out)
    nothing = json.loads(command("cache", "inspect", "--json", ids[0]).out)
    assert nothing["found"] == "nothing"
    warmed = command("cache", "warm", "--hours", "1")
    assert warmed.code == OK, warmed.err
    assert "2 sessions" in warmed.out
    entry = json.loads(command("cache", "inspect", "--json", ids[0]).out)
    assert entry["found"] == "analytics"
    assert entry["believed"] is True
    assert entry["version"] == 1
    assert entry["lease_s"] is None
    assert "zstd" in command("cache", "inspect", ids[0]).out
    assert command("cache", "invalidate", ids[0]).code == OK
    assert json.loads(command("cache", "inspect", "--json", ids[0]).out)["found"] == "nothing"
    assert command("cache", "invalidate", "--all").code == OK
    assert json.loads(command("cache", "inspect", "--json", ids[1]).out)["believed"] is False
    assert "answered by postgres" in command("show", ids[1]).out
    assert command("cache", "invalidate").code == USAGE
