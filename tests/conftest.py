"""Real servers for whoever asks: one pair a run, a database and a key prefix of one's own."""

from __future__ import annotations

import gc
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.servers import Addresses, NoServer, OwnRedis, OwnServer, Servers, new_database, server_folder, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVERLESS = ("tests/unit", "tests/architecture", "tests/model", "tests/containers")  # A run of these alone starts no server.
_SERVERS = pytest.StashKey[Servers]()
_TEMPORARY = pytest.StashKey[ExitStack]()
_ADDRESSES = pytest.StashKey[Addresses]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the pair, in pytest-xdist's controller if there is one: its workers get the addresses, and its temporary folder."""
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is None:
        config.stash[_TEMPORARY] = ExitStack()
        config.stash[_TEMPORARY].enter_context(temporary_folder())
        if _tests_may_need_servers(config):
            _start(config)
    elif "servers" in given:
        config.stash[_ADDRESSES] = Addresses(**given["servers"])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector from looking through what is imported here, and stays, again and again: a tenth of all the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the addresses to a worker."""
    addresses = node.config.stash.get(_ADDRESSES, None)
    if addresses is not None:
        node.workerinput["servers"] = addresses.as_dict()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the pair."""
    servers = config.stash.get(_SERVERS, None)
    if servers is not None:
        servers.stop()
    if _TEMPORARY in config.stash:
        config.stash[_TEMPORARY].close()


def pytest_report_header(config: pytest.Config) -> str:
    """Say what the tests run against."""
    addresses = config.stash.get(_ADDRESSES, None)
    return f"servers: {addresses.described if addresses else 'none are needed'}"


def _start(config: pytest.Config) -> Addresses:
    try:
        config.stash[_SERVERS] = Servers()
        config.stash[_ADDRESSES] = config.stash[_SERVERS].start()
    except NoServer as error:
        raise pytest.UsageError(str(error)) from error
    return config.stash[_ADDRESSES]


def _tests_may_need_servers(config: pytest.Config) -> bool:
    runs_nothing = ("help", "version", "collectonly", "showfixtures", "show_fixtures_per_test", "markers", "setupplan", "cacheshow")
    if any(config.getoption(name, None) for name in runs_nothing):
        return False
    serverless = [config.rootpath / folder for folder in _SERVERLESS]
    for argument in config.args:
        path = (config.invocation_params.dir / Path(argument.partition("::")[0])).resolve()
        if not any(path.is_relative_to(folder) for folder in serverless):
            return True
    return False


def _addresses(config: pytest.Config) -> Addresses:
    addresses = config.stash.get(_ADDRESSES, None)
    if addresses is None and hasattr(config, "workerinput"):
        pytest.fail(f"a test below {' or '.join(_SERVERLESS)} asks for a server; it belongs to another folder", pytrace=False)
    return addresses or _start(config)


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> str:
    """The PostgreSQL of the run: the URL of its database `postgres`, with the right to make others."""
    return _addresses(pytestconfig).postgres_url


@pytest.fixture(scope="session")
def database_url(postgres_server: str) -> Iterator[str]:
    """Name a database of this worker's own, which was empty when its first test began."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_server: str) -> Iterator[str]:
    """Name an empty database, for this test alone."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def template_database(postgres_server: str) -> Iterator[str]:
    """Name a database with the tables, those of the queue too, to which nobody is connected."""
    from tests.stores import upgrade  # Imported here: of no use to those that need no server.

    with new_database(postgres_server) as url:
        upgrade(url)
        yield url


@pytest.fixture
def fresh_database_url(postgres_server: str, template_database: str) -> Iterator[str]:
    """Name a database for this test alone, with all tables: a copy, which costs a fifth of the migrations."""
    with new_database(postgres_server, template=template_database) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> str:
    """The Redis or Valkey of the run, shared by all: use redis_prefix, and never flush it."""
    return _addresses(pytestconfig).redis_url


@pytest.fixture
def redis_prefix() -> str:
    """A prefix of keys that nobody else has used or will use."""
    return f"test_{secrets.token_hex(6)}"


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """Make an empty data folder for embedded servers; whatever runs in it afterwards is ended."""
    with server_folder() as folder:
        yield folder


@pytest.fixture
def own_redis(data_folder: Path) -> Iterator[OwnRedis]:
    """Start a Valkey of this test's own, to be frozen, killed and started again (0.1 s)."""
    server = OwnRedis(EmbeddedValkey(data_folder))
    yield server
    server.close()


@pytest.fixture
def own_postgres(data_folder: Path) -> Iterator[OwnServer]:
    """Start a PostgreSQL of this test's own, to be frozen, killed and started again (1 s)."""
    server = OwnServer(EmbeddedPostgres(data_folder))
    yield server
    server.close()
