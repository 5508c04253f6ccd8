"""The embedded servers, with real processes that are really killed."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis

from adapters.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, Patience
from adapters.embedded.lock import Lock
from domain.errors import InvalidSettings, StorageUnavailable
from tests.servers import OwnRedis, OwnServer, is_alive, remove_leftovers, run_sql, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
AS_ROOT = os.geteuid() == 0
NOBODY = 65534
ENDS_S = 60.0
PROGRAM = """
    import os, psutil, sys, time
    from pathlib import Path
    from adapters.embedded import EmbeddedPostgres, EmbeddedValkey
    if {user} is not None:  # Not earlier: this Python may be installed where only root may look.
        os.setgroups([]), os.setgid({user}), os.setuid({user})
    server = {kind}(Path(sys.argv[1]))
    server.open()
    {then}
    print(server.pid(), flush=True)
    sys.stdin.readline()
    server.close()
"""


class Program:
    """Another program that uses a data folder, until it is told to leave."""

    def __init__(self, kind: type[EmbeddedServer], folder: Path, *, then: str = "pass", user: int | None = None) -> None:
        source = textwrap.dedent(PROGRAM).format(kind=kind.__name__, then=then, user=user)
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-c", source, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        self.pid = self._process.pid

    def server_pid(self) -> int:
        """Wait until it uses the server."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def leave(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.wait(timeout=30) == 0

    def kill(self) -> None:
        """Kill it, and don't wait for the end of its output, which a child of its own may still hold."""
        self._process.kill()
        self._process.wait(timeout=30)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def program(kind: type[EmbeddedServer], folder: Path, **options: Any) -> Iterator[Program]:
    started = Program(kind, folder, **options)
    try:
        yield started
    finally:
        started.kill()


def running(server: EmbeddedServer) -> int:
    pid = server.pid()
    assert pid is not None
    return pid


def watchers(folder: Path) -> list[int]:
    """The processes that watch the servers of a data folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            arguments = process.cmdline()
            if str(folder) in arguments and any("adapters.embedded.watch" in argument for argument in arguments):
                found.append(process.pid)
    return found


def until_there(path: Path) -> None:
    deadline = time.monotonic() + ENDS_S
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


@contextmanager
def client(url: str) -> Iterator[Any]:
    with closing(redis.Redis.from_url(url, socket_timeout=5, decode_responses=True)) as connected:
        yield connected


def remember(url: str) -> None:
    if url.startswith("postgresql"):
        run_sql(url, "CREATE TABLE kept AS SELECT 42 AS number")
    else:
        with client(url) as connected:
            connected.set("kept", "42")


def remembered(url: str) -> int | None:
    if url.startswith("postgresql"):
        found = run_sql(url, "SELECT number FROM kept")
    else:
        with client(url) as connected:
            found = connected.get("kept")
    return None if found is None else int(found)


@BOTH
def test_second_start_finds_what_the_first_one_left(kind: type[EmbeddedServer], data_folder: Path) -> None:
    server = kind(data_folder)
    with server as url:
        first = running(server)
        remember(url)
    assert not is_alive(first)
    with server as again:
        assert again == url
        assert remembered(again) == 42
    assert server.pid() is None


def test_database_is_of_the_promised_kind(data_folder: Path) -> None:
    with EmbeddedPostgres(data_folder) as url:
        assert run_sql(url, "SHOW server_encoding") == "UTF8"
        assert run_sql(url, "SELECT upper('é')") == "É"
        assert run_sql(url, "SELECT string_agg(c, '' ORDER BY c) FROM unnest(ARRAY['a', 'B', 'é']) AS c") == "Baé"
        assert run_sql(url, "SHOW fsync") == "on"
        assert run_sql(url, "SHOW listen_addresses") == ""


def test_valkey_listens_on_its_private_socket_alone(data_folder: Path) -> None:
    server = EmbeddedValkey(data_folder)
    with server as url, client(url) as connected:
        path = Path(url.removeprefix("unix://"))
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert connected.config_get("port") == {"port": "0"}
        assert connected.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        assert [c for c in psutil.Process(running(server)).net_connections("inet") if c.status == psutil.CONN_LISTEN] == []


@BOTH
def test_last_of_two_programs_stops_the_server(kind: type[EmbeddedServer], data_folder: Path) -> None:
    with program(kind, data_folder) as first, program(kind, data_folder) as second:
        pid = first.server_pid()
        assert second.server_pid() == pid
        first.leave()
        assert is_alive(pid)
        second.leave()
        assert not is_alive(pid)


@BOTH
def test_many_threads_share_one_server(kind: type[EmbeddedServer], data_folder: Path) -> None:
    pids: set[int | None] = set()
    together = threading.Barrier(4, timeout=30)

    def use() -> None:
        server = kind(data_folder)
        with server as url:
            together.wait()
            pids.add(server.pid())
            assert url
            together.wait()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(pids) == 1
    assert kind(data_folder).pid() is None


@BOTH
def test_server_of_a_killed_program_ends_soon(kind: type[EmbeddedServer], data_folder: Path) -> None:
    with program(kind, data_folder) as killed:
        pid = killed.server_pid()
        watching = watchers(data_folder)
        assert len(watching) == 1
    wait_until_gone(pid, ENDS_S)
    wait_until_gone(watching[0], ENDS_S)
    with kind(data_folder) as url:
        remember(url)


@BOTH
def test_server_of_a_killed_program_is_used_on_by_others_and_stopped_by_the_last(kind: type[EmbeddedServer], data_folder: Path) -> None:
    server = kind(data_folder)
    with program(kind, data_folder) as killed:
        pid = killed.server_pid()
        url = server.open()
    [watching] = watchers(data_folder)
    [lock] = data_folder.glob("*/start.lock")
    lock.unlink()
    until_there(lock)  # So the watch has looked since.
    assert running(server) == pid
    remember(url)
    server.close()
    assert not is_alive(pid)
    wait_until_gone(watching, ENDS_S)


@BOTH
def test_server_of_a_killed_program_serves_whoever_comes_at_once(kind: type[EmbeddedServer], data_folder: Path) -> None:
    """Be it that one or its successor."""
    with program(kind, data_folder) as killed:
        killed.server_pid()
    with kind(data_folder) as url:
        remember(url)


@BOTH
def test_server_whose_watch_was_killed_is_stopped_by_the_next(kind: type[EmbeddedServer], data_folder: Path) -> None:
    with program(kind, data_folder) as killed:
        pid = killed.server_pid()
        for watching in watchers(data_folder):
            kill(watching)
    assert is_alive(pid)
    server = kind(data_folder)
    with server as url:
        assert running(server) == pid
        remember(url)
    assert not is_alive(pid)


@BOTH
def test_server_of_a_killed_program_can_be_stopped_without_being_used(kind: type[EmbeddedServer], data_folder: Path) -> None:
    with program(kind, data_folder) as killed:
        pid = killed.server_pid()
    kind(data_folder).close()
    assert not is_alive(pid)


def test_committed_rows_outlive_the_death_of_program_and_server(data_folder: Path) -> None:
    with program(EmbeddedPostgres, data_folder) as killed:
        pid = killed.server_pid()
        remember(EmbeddedPostgres(data_folder).open())
        kill(pid)
    with EmbeddedPostgres(data_folder) as url:
        assert remembered(url) == 42


@BOTH
def test_server_that_died_is_replaced_at_the_same_address(kind: type[EmbeddedServer], data_folder: Path) -> None:
    server = kind(data_folder)
    with server as url:
        first = running(server)
        kill(first)
        assert server.open() == url
        assert running(server) != first


@BOTH
def test_server_that_nobody_can_reach_any_more_is_replaced(kind: type[EmbeddedServer], data_folder: Path) -> None:
    server = kind(data_folder)
    with server:
        first = running(server)
        for file in (data_folder / first_folder(kind) / "run").iterdir():
            file.unlink()
        server.open()
        assert running(server) != first
        assert not is_alive(first)


def first_folder(kind: type[EmbeddedServer]) -> str:
    return "postgresql" if kind is EmbeddedPostgres else "valkey"


@BOTH
def test_frozen_server_is_an_error_in_time_and_can_be_ended(kind: type[EmbeddedServer], data_folder: Path) -> None:
    with program(kind, data_folder) as frozen:
        pid = frozen.server_pid()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(StorageUnavailable, match=f"process {pid}"):
            kind(data_folder, patience=Patience(start_s=0.2)).open()
    kind(data_folder).close()
    assert not is_alive(pid)


def test_stale_pid_file_does_not_keep_postgres_from_starting(data_folder: Path) -> None:
    server = EmbeddedPostgres(data_folder)
    file = data_folder / "postgresql" / "data" / "postmaster.pid"
    with server as url:
        remember(url)
        whole = file.read_text().partition("\n")[2]
    with subprocess.Popen(["sleep", "60"], user=server_uid(file.parent)) as foreign:
        try:
            for content in (
                "",
                "\n",
                "garbage\n",
                "12",
                f"{foreign.pid}",
                f"{foreign.pid}\n",
                f"-{foreign.pid}\n",
                f"{foreign.pid}\n{whole}",
            ):
                file.write_text(content)
                os.chown(file, file.parent.stat().st_uid, file.parent.stat().st_gid)
                with server as url:
                    assert remembered(url) == 42
                assert foreign.poll() is None
        finally:
            foreign.kill()


def server_uid(folder: Path) -> int | None:
    """Name a user whom PostgreSQL could signal: for its own users alone it believes a pid to be a server's."""
    return folder.stat().st_uid if AS_ROOT else None


def test_stale_lock_of_the_postgres_socket_does_not_matter(data_folder: Path) -> None:
    server = EmbeddedPostgres(data_folder)
    with server:
        kill(running(server))
        lock = data_folder / "postgresql" / "run" / ".s.PGSQL.5432.lock"
        lock.write_text(f"{os.getpid()}\n{lock.read_text().partition(chr(10))[2]}")
        server.open()


def test_stale_valkey_socket_does_not_matter(data_folder: Path) -> None:
    path = data_folder / "valkey" / "run" / "valkey.sock"
    path.parent.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as nobody_listens:
        nobody_listens.bind(str(path))
    with EmbeddedValkey(data_folder) as url:
        remember(url)


def test_half_made_data_folder_is_made_again(data_folder: Path) -> None:
    folder = data_folder / "postgresql"
    with program(EmbeddedPostgres, data_folder) as killed:
        deadline = time.monotonic() + 20
        while not list(folder.glob("initdb-*/PG_VERSION")):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        killed.kill()
    assert list(folder.glob("initdb-*"))
    assert not (folder / "data").exists()
    with EmbeddedPostgres(data_folder) as url:
        remember(url)
    deadline = time.monotonic() + 20
    while any("initdb" in " ".join(arguments(p)) and str(folder) in " ".join(arguments(p)) for p in psutil.process_iter()):
        assert time.monotonic() < deadline  # The orphan ends by itself.
        time.sleep(0.02)
    with EmbeddedPostgres(data_folder) as url:
        assert remembered(url) == 42
    assert list(folder.glob("initdb-*")) == []


def arguments(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@BOTH
def test_long_paths_get_a_short_private_socket_folder_that_vanishes(kind: type[EmbeddedServer], data_folder: Path) -> None:
    deep = data_folder / ("a folder with a % and a rather long name " * 2) / ("another one " * 6)
    server = kind(deep)
    with server as url:
        remember(url)
        short = Path((deep / first_folder(kind) / "socket_dir").read_text().strip())
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
    assert not short.exists()
    with server as url:
        assert remembered(url) == 42


def test_socket_folder_of_somebody_else_is_refused(data_folder: Path) -> None:
    deep = data_folder / ("long " * 20)
    server = EmbeddedValkey(deep)
    with server:
        short = Path((deep / "valkey" / "socket_dir").read_text().strip())
    short.mkdir(mode=0o755)
    try:
        with pytest.raises(InvalidSettings, match="not a private folder"):
            server.open()
    finally:
        short.rmdir()
    assert server.pid() is None


@BOTH
def test_spaces_and_quotes_in_a_path_do_not_matter(kind: type[EmbeddedServer], data_folder: Path) -> None:
    with kind(data_folder / 'it\'s "a" é%20,+') as url:
        remember(url)


@BOTH
def test_server_holds_no_lock_and_no_terminal_of_ours(kind: type[EmbeddedServer], data_folder: Path) -> None:
    server = kind(data_folder)
    with server:
        pid = running(server)
        opened = [Path(file.path).name for file in psutil.Process(pid).open_files()]
        assert not [name for name in opened if name.endswith(".lock") and not name.startswith(".s.PGSQL")]
        assert os.getsid(pid) == pid


@BOTH
def test_forked_worker_of_a_killed_program_keeps_no_hold(kind: type[EmbeddedServer], data_folder: Path) -> None:
    fork = 'worker = os.fork(); worker or time.sleep(60); Path(sys.argv[1], "worker").write_text(str(worker))'
    with program(kind, data_folder, then=fork) as killed:
        pid = killed.server_pid()
    worker = int((data_folder / "worker").read_text())
    try:
        with kind(data_folder):
            assert is_alive(worker)
        assert not is_alive(pid)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_cache_is_warm_after_an_orderly_stop_and_cold_after_a_crash(data_folder: Path) -> None:
    server = EmbeddedValkey(data_folder)
    dump = data_folder / "valkey" / "dump.rdb"
    with server as url:
        remember(url)
    assert dump.exists()
    with server as url:
        assert remembered(url) == 42
        assert not dump.exists()
        kill(running(server))
    with server as url:
        assert remembered(url) is None


def test_dump_that_cannot_be_read_costs_no_more_than_the_cache(data_folder: Path) -> None:
    server = EmbeddedValkey(data_folder)
    with server as url:
        remember(url)
    (data_folder / "valkey" / "dump.rdb").write_bytes(b"REDIS0011 and then nonsense")
    with server as url:
        assert remembered(url) is None


def test_postgres_never_runs_as_root_and_only_passage_is_granted(data_folder: Path) -> None:
    server = EmbeddedPostgres(data_folder)
    with server:
        assert psutil.Process(running(server)).uids().effective != 0
        assert stat.S_IMODE(data_folder.stat().st_mode) in {0o700, 0o711, 0o701}
        assert stat.S_IMODE((data_folder / "postgresql").stat().st_mode) in {0o700, 0o711, 0o701}
        assert stat.S_IMODE((data_folder / "postgresql" / "data").stat().st_mode) == 0o700
        assert stat.S_IMODE((data_folder / "postgresql" / "postgresql.log").stat().st_mode) == 0o600


@BOTH
def test_ordinary_user_and_root_can_share_a_folder_of_the_user(kind: type[EmbeddedServer], data_folder: Path) -> None:
    """As root it is the user nobody who owns the folder; else all of this is done by one user."""
    if AS_ROOT:
        os.chown(data_folder, NOBODY, NOBODY)
    user = NOBODY if AS_ROOT else None
    server = kind(data_folder)
    with server as url:
        remember(url)
        pid = running(server)
        assert psutil.Process(pid).uids().effective == data_folder.stat().st_uid
        with program(kind, data_folder, user=user) as guest:
            assert guest.server_pid() == pid
            guest.leave()
    assert not is_alive(pid)
    with program(kind, data_folder, user=user) as first:
        pid = first.server_pid()
        with server as url:
            assert running(server) == pid
            assert remembered(url) == 42
        assert is_alive(pid)
        first.leave()
    assert not is_alive(pid)


def test_data_of_another_postgres_are_refused_by_name(data_folder: Path) -> None:
    home = data_folder / "postgresql" / "data"
    home.mkdir(parents=True)
    (home / "PG_VERSION").write_text("16\n")
    with pytest.raises(InvalidSettings, match="written by PostgreSQL 16"):
        EmbeddedPostgres(data_folder).open()


def test_files_of_somebody_else_are_never_taken_for_rubbish(data_folder: Path) -> None:
    home = data_folder / "postgresql" / "data"
    home.mkdir(parents=True)
    (home / "letters.txt").write_text("dear")
    with pytest.raises(InvalidSettings, match="DATA_DIR"):
        EmbeddedPostgres(data_folder).open()
    assert (home / "letters.txt").read_text() == "dear"


def test_broken_data_are_an_error_with_the_end_of_the_log(data_folder: Path) -> None:
    server = EmbeddedPostgres(data_folder)
    with server:
        pass
    (data_folder / "postgresql" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(StorageUnavailable, match="pg_control"):
        server.open()
    assert server.pid() is None


@BOTH
def test_lock_of_another_starter_is_awaited_for_a_bounded_time(kind: type[EmbeddedServer], data_folder: Path) -> None:
    folder = data_folder / first_folder(kind)
    folder.mkdir()
    busy = Lock(folder / "start.lock")
    assert busy.take(shared=False)
    try:
        with pytest.raises(StorageUnavailable, match=r"start\.lock"):
            kind(data_folder, patience=Patience(lock_s=0.2, start_s=0.2, stop_s=0.2)).open()
    finally:
        busy.release()


@BOTH
def test_folder_that_cannot_be_made_names_the_setting(kind: type[EmbeddedServer], data_folder: Path) -> None:
    (data_folder / "file").write_text("")
    with pytest.raises(InvalidSettings, match="DATA_DIR"):
        kind(data_folder / "file").open()


@BOTH
def test_missing_wheel_names_the_setting_and_the_extra(
    kind: type[EmbeddedServer], data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InvalidSettings, match=r"_URL, or install emg-sessions\[embedded\]"):
        kind(data_folder).open()


@pytest.mark.parametrize("wrong", [{"poll_s": 1.0}, {"poll_s": 0.0}, {"start_s": 61.0}, {"stop_s": 0.0}])
def test_patience_with_a_contradiction_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidSettings):
        Patience(**wrong)


def test_own_redis_can_be_frozen_killed_and_started_again(own_redis: OwnRedis) -> None:
    remember(own_redis.url)
    own_redis.stop()
    with closing(redis.Redis.from_url(own_redis.url, socket_timeout=0.1, retry=None)) as hasty, pytest.raises(redis.TimeoutError):
        hasty.ping()
    own_redis.cont()
    assert remembered(own_redis.url) == 42
    own_redis.flush()
    assert remembered(own_redis.url) is None
    first = own_redis.pid
    own_redis.kill()
    with client(own_redis.url) as connected, pytest.raises(redis.ConnectionError):
        connected.ping()
    own_redis.start()
    assert own_redis.pid != first
    remember(own_redis.url)


def test_own_postgres_keeps_its_rows_when_killed(own_postgres: OwnServer) -> None:
    remember(own_postgres.url)
    own_postgres.stop()
    own_postgres.kill()
    own_postgres.start()
    assert remembered(own_postgres.url) == 42


def test_every_database_is_empty_and_apart(database_url: str, empty_database_url: str) -> None:
    assert database_url != empty_database_url
    assert run_sql(empty_database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


def test_key_prefixes_lead_to_a_server_that_answers(redis_url: str, redis_prefix: str) -> None:
    with client(redis_url) as connected:
        connected.set(f"{redis_prefix}:a", 1, px=1000)
        assert connected.keys(f"{redis_prefix}*") == [f"{redis_prefix}:a"]


def test_servers_of_a_killed_test_run_are_removed_by_the_next(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DEBUG_TEMPROOT", str(data_folder))
    left = data_folder / "emg-sessions-tests-left"
    with program(EmbeddedValkey, left) as killed:
        pid = killed.server_pid()
    (left / "owner.lock").touch()
    remove_leftovers()
    assert left.exists()  # It is young, and might belong to somebody.
    os.utime(left, (0, 0))
    remove_leftovers()
    assert not is_alive(pid)
    assert not left.exists()
