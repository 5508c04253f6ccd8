"""Every error the driver knows becomes one of the domain's, and real failures the right one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import PostgresPolicy, create_engine
from adapters.postgres.errors import DRIVER_ERRORS, translate, translated
from adapters.postgres.session_analytics import PostgresSessionAnalyticsRepository
from adapters.postgres.session_registry import PostgresSessionRegistry
from domain.errors import StorageError, StorageNotReady, StorageRefused, StorageUnavailable, StoredDataInvalid
from tests.proxies import Proxy
from tests.servers import new_database
from tests.strategies import examples, new_id, some_analytics, some_session


def all_below(kind: type[BaseException]) -> list[type[BaseException]]:
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in all_below(below))]


SERVER_ERRORS = [kind for kind in all_below(asyncpg.PostgresError) if getattr(kind, "sqlstate", None)]
CLIENT_ERRORS = [*all_below(asyncpg.InterfaceError), *all_below(asyncpg.InternalClientError)]
IMPORTANT = {
    asyncpg.InvalidPasswordError: StorageRefused,
    asyncpg.InvalidAuthorizationSpecificationError: StorageRefused,
    asyncpg.InvalidCatalogNameError: StorageRefused,
    asyncpg.InsufficientPrivilegeError: StorageRefused,
    asyncpg.ReadOnlySQLTransactionError: StorageRefused,
    asyncpg.UndefinedTableError: StorageNotReady,
    asyncpg.UndefinedColumnError: StorageNotReady,
    asyncpg.UndefinedFunctionError: StorageNotReady,
    asyncpg.InvalidSchemaNameError: StorageNotReady,
    asyncpg.QueryCanceledError: StorageUnavailable,
    asyncpg.LockNotAvailableError: StorageUnavailable,
    asyncpg.DeadlockDetectedError: StorageUnavailable,
    asyncpg.SerializationError: StorageUnavailable,
    asyncpg.TooManyConnectionsError: StorageUnavailable,
    asyncpg.DiskFullError: StorageUnavailable,
    asyncpg.AdminShutdownError: StorageUnavailable,
    asyncpg.CrashShutdownError: StorageUnavailable,
    asyncpg.CannotConnectNowError: StorageUnavailable,
    asyncpg.ConnectionDoesNotExistError: StorageUnavailable,
    asyncpg.ConnectionFailureError: StorageUnavailable,
    asyncpg.IdleInTransactionSessionTimeoutError: StorageUnavailable,
    asyncpg.UntranslatableCharacterError: StoredDataInvalid,
    asyncpg.NumericValueOutOfRangeError: StoredDataInvalid,
    asyncpg.InvalidTextRepresentationError: StoredDataInvalid,
}


def named(kind: type[BaseException]) -> str:
    return kind.__name__


def test_the_driver_still_has_the_errors_this_table_was_made_for() -> None:
    assert len(SERVER_ERRORS) > 200
    assert len(CLIENT_ERRORS) > 3


@pytest.mark.parametrize("kind", SERVER_ERRORS, ids=named)
def test_an_error_of_the_server_becomes_a_storage_error_with_its_code(kind: type[BaseException]) -> None:
    error = kind("what the server said: secret-value")
    for seen in (error, sa.exc.DBAPIError("SELECT 1", {}, error)):
        answer = translate(seen)
        assert isinstance(answer, StorageError)
        assert str(getattr(error, "sqlstate", "")) in str(answer)
        assert "secret-value" not in str(answer)
        assert isinstance(seen, DRIVER_ERRORS)


@pytest.mark.parametrize("kind", CLIENT_ERRORS, ids=named)
def test_an_error_of_the_driver_itself_becomes_a_storage_error(kind: type[BaseException]) -> None:
    error = kind("secret-value")
    with pytest.raises(StorageError) as caught, translated():
        raise error
    assert "secret-value" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(("kind", "expected"), IMPORTANT.items(), ids=named)
def test_an_important_error_becomes_the_right_one(kind: type[BaseException], expected: type[StorageError]) -> None:
    assert type(translate(kind("…"))) is expected


@given(state=st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=5, max_size=5))
@examples(200)
def test_a_code_of_a_later_postgresql_becomes_a_storage_error(state: str) -> None:
    error = asyncpg.PostgresError("…")
    error.sqlstate = state
    assert isinstance(translate(error), StorageError)


@pytest.mark.parametrize("error", [TimeoutError(), OSError("…"), ConnectionRefusedError("…"), sa.exc.TimeoutError("…")], ids=repr)
def test_what_the_network_and_the_pool_raise_is_unavailability(error: BaseException) -> None:
    assert type(translate(error)) is StorageUnavailable


def test_what_is_no_error_of_the_driver_passes() -> None:
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError


# Real failures


@asynccontextmanager
async def storage(url: str, **policy: float) -> AsyncIterator[PostgresSessionAnalyticsRepository]:
    engine = create_engine(url, PostgresPolicy(**policy))  # type: ignore[arg-type]
    try:
        yield PostgresSessionAnalyticsRepository(engine)
    finally:
        await engine.dispose()


async def every_call_raises(repository: PostgresSessionAnalyticsRepository, kind: type[StorageError], *words: str) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: repository.get(new_id()),
        lambda: repository.get_many([new_id()]),
        lambda: repository.get_document(new_id()),
        lambda: repository.save(some_analytics()),
        lambda: repository.delete(new_id()),
        repository.store_id,
        lambda: repository.changes_since(1),
        lambda: repository.versions_of([new_id()]),
    ]
    for call in calls:
        with pytest.raises(StorageError) as caught:
            await call()
        assert type(caught.value) is kind
        for word in words:
            assert word in str(caught.value)
        assert "hunter2" not in str(caught.value)


def elsewhere(url: str, **changes: object) -> str:
    return sa.make_url(url).set(**changes).render_as_string(hide_password=False)  # type: ignore[arg-type]


async def test_an_unknown_database_is_refused_and_named_by_its_setting(database_url: str) -> None:
    async with storage(elsewhere(database_url, database="no_such_database")) as repository:
        await every_call_raises(repository, StorageRefused, "DATABASE_URL", "3D000")


async def test_an_unknown_user_is_refused(database_url: str) -> None:
    async with storage(elsewhere(database_url, username="nobody_we_know", password="hunter2")) as repository:
        await every_call_raises(repository, StorageRefused, "DATABASE_URL", "28")


async def test_a_wrong_password_is_refused_and_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    # The embedded server asks nobody for a password, so this one speaks the first words of the protocol, as PostgreSQL does.
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"R\0\0\0\x08\0\0\0\x03")  # Wants the password in clear text.
        await reader.read(1024)
        fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "u"\0\0'
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        await writer.drain()
        writer.close()

    caplog.set_level(logging.DEBUG)
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with storage(f"postgresql://u:hunter2@127.0.0.1:{port}/d?sslmode=disable") as repository:
            await every_call_raises(repository, StorageRefused, "DATABASE_URL", "28P01")
    assert "hunter2" not in caplog.text


async def test_a_refused_port_is_unavailability(closed_port: int) -> None:
    async with storage(f"postgresql://u:hunter2@127.0.0.1:{closed_port}/d") as repository:
        await every_call_raises(repository, StorageUnavailable, "DATABASE_URL")


async def test_a_host_without_a_name_is_unavailability() -> None:
    async with storage("postgresql://u:hunter2@no-such-host.invalid/d") as repository:
        await every_call_raises(repository, StorageUnavailable, "DATABASE_URL")


async def test_a_socket_that_is_not_there_is_unavailability() -> None:
    async with storage("postgresql://u:hunter2@/d?host=/no/such/folder") as repository:
        await every_call_raises(repository, StorageUnavailable, "DATABASE_URL")


async def test_a_server_that_accepts_and_never_answers_is_given_up() -> None:
    silent = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        async with storage(f"postgresql://u:hunter2@127.0.0.1:{port}/d?sslmode=disable", connect_s=0.1) as repository:
            await every_call_raises(repository, StorageUnavailable, "did not answer in time")
    finally:
        silent.set()
        server.close()
        await server.wait_closed()


async def test_a_server_without_tls_is_said_to_be_one() -> None:
    async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"N")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse_tls, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with storage(f"postgresql://u:hunter2@127.0.0.1:{port}/d?sslmode=require") as repository:
            await every_call_raises(repository, StorageRefused, "has no TLS")


async def test_a_root_certificate_that_is_none_is_refused(tmp_path: Path, closed_port: int) -> None:
    (tmp_path / "root.crt").write_text("no certificate")
    options = f"sslmode=verify-full&sslrootcert={tmp_path / 'root.crt'}"
    async with storage(f"postgresql://u:hunter2@127.0.0.1:{closed_port}/d?{options}") as repository:
        await every_call_raises(repository, StorageRefused, "certificates")


async def test_options_of_libpq_are_honoured(database_url: str) -> None:
    options = {"connect_timeout": "7", "application_name": "the clinic's", "target_session_attrs": "read-write", "sslmode": "prefer"}
    url = sa.make_url(database_url).update_query_dict(options).render_as_string(hide_password=False)
    engine = create_engine(url, PostgresPolicy())
    try:
        async with engine.connect() as connection:
            assert await connection.scalar(sa.text("SELECT current_setting('application_name')")) == "the clinic's"
            assert await connection.scalar(sa.text("SELECT current_setting('statement_timeout')")) == "10s"
    finally:
        await engine.dispose()


async def test_a_server_that_speaks_something_else_is_a_storage_error() -> None:
    async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve_http, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with storage(f"postgresql://u:hunter2@127.0.0.1:{port}/d?sslmode=disable", connect_s=1.0) as repository:
            await every_call_raises(repository, StorageUnavailable)


async def test_a_server_that_hangs_in_the_midst_is_given_up(database_url: str, engine: AsyncEngine) -> None:
    async with (
        Proxy.to_postgres(database_url) as proxy,
        storage(proxy.postgres_url(database_url), statement_s=0.1, connect_s=0.5) as repository,
    ):
        assert await repository.get(new_id()) is None
        proxy.answering.clear()
        with pytest.raises(StorageUnavailable, match="did not answer in time"):
            await repository.get(new_id())
        proxy.answering.set()
        assert await repository.get(new_id()) is None


async def test_a_row_that_stays_locked_is_given_up_by_the_server(database_url: str, engine: AsyncEngine) -> None:
    analytics = some_analytics()
    async with storage(database_url, statement_s=0.2) as repository:
        await repository.save(analytics)
        async with engine.begin() as other:
            await other.execute(sa.text("SELECT 1 FROM session_analytics WHERE session_id = :id FOR UPDATE"), {"id": analytics.session_id})
            with pytest.raises(StorageUnavailable, match="DATABASE_STATEMENT_TIMEOUT_S"):
                await repository.delete(analytics.session_id)
        assert await repository.delete(analytics.session_id) is not None


async def test_a_pool_that_stays_in_use_is_unavailability_naming_its_setting(database_url: str, engine: AsyncEngine) -> None:
    analytics = some_analytics()
    async with storage(database_url, pool_size=1, pool_wait_s=0.1, statement_s=5.0) as repository:
        await repository.save(analytics)
        async with engine.begin() as other:
            await other.execute(sa.text("SELECT 1 FROM session_analytics WHERE session_id = :id FOR UPDATE"), {"id": analytics.session_id})
            deleting = asyncio.create_task(repository.delete(analytics.session_id))
            await asyncio.sleep(0.05)
            with pytest.raises(StorageUnavailable, match="DATABASE_POOL_SIZE"):
                await repository.get(analytics.session_id)
        assert await deleting is not None


async def test_missing_tables_are_named_with_the_command_that_makes_them(postgres_server: str) -> None:
    with new_database(postgres_server) as url:
        async with storage(url) as repository:
            await every_call_raises(repository, StorageNotReady, "emg-sessions db upgrade")
        engine = create_engine(url, PostgresPolicy())
        registry = PostgresSessionRegistry(engine)
        for call in (registry.register(some_session()), registry.find(new_id()), registry.recent(1)):
            with pytest.raises(StorageNotReady, match="emg-sessions db upgrade"):
                await call
        await engine.dispose()
