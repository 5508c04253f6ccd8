"""The real servers of the test suite: one pair for the whole run, and private ones for tests that break them.

TEST_SERVERS chooses: `containers`, `embedded`, or `auto`, which takes containers where a Docker engine answers and falls back to the
embedded servers, saying why. TEST_POSTGRES_IMAGE and TEST_REDIS_IMAGE name the images.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
import redis
from sqlalchemy.engine import make_url

from adapters.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from adapters.embedded.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testcontainers.core.container import DockerContainer

CHOICES = ("auto", "containers", "embedded")
_FOLDER_PREFIX = "emg-sessions-tests-"
_FOLDER_OLD_S = 60.0
_TEMPORARY_ROOT = "PYTEST_DEBUG_TEMPROOT"  # pytest's own name for where its folders are.
_CONTAINER_START_S = 60.0
_POLL_S = 0.05


class NoServer(RuntimeError):
    """The servers that were chosen cannot be had."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the run's servers are, and how the report's header calls them."""

    postgres_url: str
    redis_url: str
    described: str

    def as_dict(self) -> dict[str, str]:
        """Give plain values, which pass from pytest-xdist's controller to its workers."""
        return asdict(self)


class Servers:
    """The pair that a test run shares; whoever starts it stops it."""

    def __init__(self, choice: str | None = None) -> None:
        """Take the choice from TEST_SERVERS, unless it is given."""
        self._choice = choice or os.environ.get("TEST_SERVERS") or "auto"
        if self._choice not in CHOICES:
            message = f"TEST_SERVERS is {self._choice!r}; it is one of {', '.join(CHOICES)}"
            raise NoServer(message)
        self._stack = ExitStack()
        self._remarks: list[str] = []

    def start(self) -> Addresses:
        """Start both, and ask them who they are."""
        remove_leftovers()
        try:
            engine = self._choice != "embedded" and self._engine_answers()
            postgres_url, postgres_kind = self._start_one(engine, self._postgres_container, EmbeddedPostgres)
            redis_url, redis_kind = self._start_one(engine, self._redis_container, EmbeddedValkey)
            version = run_sql(postgres_url, "SHOW server_version").split()[0]
            described = f"PostgreSQL {version} ({postgres_kind}), {_redis_version(redis_url)} ({redis_kind})"
        except BaseException:
            self.stop()
            raise
        return Addresses(postgres_url, redis_url, "; ".join([described, *dict.fromkeys(self._remarks)]))

    def stop(self) -> None:
        """Stop what was started."""
        self._stack.close()

    def _engine_answers(self) -> bool:
        import docker  # type: ignore[import-untyped]  # Imported here: it takes half a second, of those alone who use it.

        try:
            with closing(docker.from_env(timeout=5)) as engine:
                return bool(engine.ping())
        except (docker.errors.DockerException, OSError) as error:
            if self._choice == "containers":
                message = f"TEST_SERVERS=containers, and no Docker engine answers: {error}"
                raise NoServer(message) from error
            return False

    def _start_one(self, engine: bool, container: Callable[[], tuple[str, str]], embedded: type[EmbeddedServer]) -> tuple[str, str]:
        if engine:
            try:
                return container()
            except Exception as error:  # An engine has a hundred ways to fail, and each has the same consequence.
                if self._choice == "containers":
                    raise
                self._remarks.append(f"no container: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}")
        server = embedded(self._stack.enter_context(server_folder()))
        url = self._stack.enter_context(server)
        if embedded is EmbeddedPostgres:
            url = str(make_url(url).set(database="postgres"))
            # As in the container: durability is of no use here, and every database made and dropped would wait for the disk.
            for name in ("fsync", "full_page_writes", "synchronous_commit"):
                run_sql(url, f"ALTER SYSTEM SET {name} = off")
            run_sql(url, "SELECT pg_reload_conf()")
        return url, "embedded"

    def _postgres_container(self) -> tuple[str, str]:
        image = os.environ.get("TEST_POSTGRES_IMAGE") or "postgres:17"
        # Durability is of no use to a database that dies with the container, and costs half of the time.
        command = "postgres -c fsync=off -c full_page_writes=off -c max_connections=200"
        address = self._container(image, 5432, env={"POSTGRES_PASSWORD": "test"}, command=command)
        url = f"postgresql+asyncpg://postgres:test@{address}/postgres"
        _until(lambda: run_sql(url, "SELECT 1"))
        return url, image

    def _redis_container(self) -> tuple[str, str]:
        image = os.environ.get("TEST_REDIS_IMAGE") or "redis:7"
        url = f"redis://{self._container(image, 6379)}/0"
        _until(lambda: _redis_version(url))
        return url, image

    def _container(self, image: str, port: int, **options: Any) -> str:
        from testcontainers.core.container import DockerContainer

        container: DockerContainer = DockerContainer(image, ports=[port], **options)
        self._stack.callback(container.stop)
        container.start()
        return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"


class OwnServer:
    """A private server, to be broken: a process that can be stopped, killed and started again at the same address."""

    def __init__(self, server: EmbeddedServer) -> None:
        """Start it."""
        self._server = server
        self.url = server.open()
        self._process = self._running()

    @property
    def pid(self) -> int:
        """The process id of the server that was started last."""
        return self._process.pid

    def stop(self) -> None:
        """Freeze it: connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would, and return once it is gone."""
        self._signal(signal.SIGKILL)
        wait_until_gone(self.pid)

    def start(self) -> None:
        """Start it again at the same address, unless it runs."""
        assert self._server.open() == self.url
        self._process = self._running()

    def close(self) -> None:
        """End it for good."""
        self.cont()
        self._server.close()

    def _running(self) -> psutil.Process:
        pid = self._server.pid()
        assert pid is not None
        return psutil.Process(pid)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(psutil.NoSuchProcess):
            for process in [self._process, *self._process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)


class OwnRedis(OwnServer):
    """A private Valkey."""

    def flush(self) -> None:
        """Forget all keys."""
        with closing(redis.Redis.from_url(self.url, socket_timeout=5)) as client:
            client.flushall()


@contextmanager
def server_folder() -> Iterator[Path]:
    """Make a folder for servers, and remove it afterwards with whatever still runs in it.

    It is not pytest's tmp_path, which other runs of pytest close to other users, as whom PostgreSQL runs when the tests run as root.
    """
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=_temporary_root())).resolve()
    owner = Lock(folder / "owner.lock")
    owner.take(shared=False)
    try:
        yield folder
    finally:
        _remove(folder)
        owner.release()


@contextmanager
def temporary_folder() -> Iterator[None]:
    """Give the run a temporary folder of its own, and remove it: who is killed in a test, or ends without a word, leaves things there.

    What pytest keeps of the last runs, and servers, stay beside it: their paths are to be found again, and short.
    """
    before = {name: os.environ.get(name) for name in (_TEMPORARY_ROOT, "TMPDIR")}
    os.environ[_TEMPORARY_ROOT] = str(_temporary_root())
    with server_folder() as folder:
        os.environ["TMPDIR"] = str(folder)
        tempfile.tempdir = None
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
            tempfile.tempdir = None


def _temporary_root() -> Path:
    return Path(os.environ.get(_TEMPORARY_ROOT) or tempfile.gettempdir()).resolve()


def remove_leftovers() -> None:
    """Remove the folders, and stop the servers, of test runs that were killed."""
    for folder in _temporary_root().glob(f"{_FOLDER_PREFIX}*"):
        owner = Lock(folder / "owner.lock")
        with suppress(OSError):
            # A young one may belong to somebody who has not come to lock it yet.
            if time.time() - folder.stat().st_mtime > _FOLDER_OLD_S and owner.path.exists() and owner.take(shared=False):
                _remove(folder)
        owner.release()


def _remove(folder: Path) -> None:
    for server in (EmbeddedPostgres(folder), EmbeddedValkey(folder)):
        server.close()
    shutil.rmtree(folder, ignore_errors=True)


def run_sql(url: str, sql: str) -> Any:
    """Run one statement and return its first value; from any thread, whatever event loop it may be running."""
    address = make_url(url)
    place = {name: value for name, value in {**address.translate_connect_args(username="user"), **address.query}.items() if value}

    async def run() -> Any:
        connection = await asyncpg.connect(**place, timeout=30, command_timeout=60)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close(timeout=10)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result()


_BACKENDS = """
    SELECT string_agg(concat_ws(' ', pid, datname, state, 'since', state_change, 'waits for', wait_event_type, wait_event, query), E'\n')
    FROM pg_stat_activity WHERE backend_type = 'client backend'
"""


@contextmanager
def new_database(admin_url: str, *, template: str | None = None) -> Iterator[str]:
    """Make a database of a random name, empty or a copy of another, give its URL, and drop it afterwards, whoever is still connected."""
    name = f"test_{secrets.token_hex(6)}"
    copied = "" if template is None else f" TEMPLATE {make_url(template).database}"
    run_sql(admin_url, f"CREATE DATABASE {name}{copied}")
    try:
        yield make_url(admin_url).set(database=name).render_as_string(hide_password=False)
    finally:
        try:
            run_sql(admin_url, f"DROP DATABASE {name} WITH (FORCE)")
        except TimeoutError:
            # It waits until every backend of the server has heard of it, and one whose client does not read hears nothing. The database
            # goes with the server; who kept it waiting is told, past what captures a test's output.
            print(f"{name} could not be dropped within a minute beside:\n{run_sql(admin_url, _BACKENDS)}", file=sys.__stderr__)


def wait_until_gone(pid: int, timeout_s: float = 10.0) -> None:
    """Wait for the end of a process; a zombie has ended."""
    deadline = time.monotonic() + timeout_s
    while is_alive(pid):
        if time.monotonic() > deadline:
            message = f"process {pid} is still alive after {timeout_s:g} s"
            raise TimeoutError(message)
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _redis_version(url: str) -> str:
    with closing(redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)) as client:
        told: Any = client.info("server")
    return f"Valkey {told['valkey_version']}" if "valkey_version" in told else f"Redis {told['redis_version']}"


def _until(attempt: Callable[[], object]) -> None:
    """Repeat until it succeeds; the last failure is the error."""
    deadline = time.monotonic() + _CONTAINER_START_S
    while True:
        try:
            attempt()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, redis.RedisError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return
