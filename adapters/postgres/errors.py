"""The driver's errors, translated once at the adapter's edge into the domain's. A test enumerates the driver's against this table."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import asyncpg
import sqlalchemy as sa

from domain.errors import StorageError, StorageNotReady, StorageRefused, StorageUnavailable, StoredDataInvalid

T = TypeVar("T")

# By SQLSTATE: the whole code first, then its class of two characters.
_BY_SQLSTATE: Final[dict[str, tuple[type[StorageError], str]]] = {
    "42501": (StorageRefused, "PostgreSQL does not grant this user the rights it needs; run as the tables' owner, or GRANT them"),
    "42P01": (StorageNotReady, "the tables are not there; run: emg-sessions db upgrade"),
    "42703": (StorageNotReady, "the tables are older than this program; run: emg-sessions db upgrade"),
    "42704": (StorageNotReady, "the tables are older than this program; run: emg-sessions db upgrade"),
    "42883": (StorageNotReady, "the tables are older than this program; run: emg-sessions db upgrade"),
    "3F000": (StorageNotReady, "the schema is not there; run: emg-sessions db upgrade"),
    "57014": (StorageUnavailable, "PostgreSQL did not finish within DATABASE_STATEMENT_TIMEOUT_S"),
    "55P03": (StorageUnavailable, "PostgreSQL could not lock the row within DATABASE_STATEMENT_TIMEOUT_S"),
    "25006": (StorageRefused, "PostgreSQL is read-only; DATABASE_URL must name the primary"),
    "08": (StorageUnavailable, "the connection to PostgreSQL broke"),
    "22": (StoredDataInvalid, "PostgreSQL cannot store or read these values"),
    "23": (StorageError, "PostgreSQL refused the values as inconsistent"),
    "25": (StorageUnavailable, "PostgreSQL ended the transaction"),
    "28": (StorageRefused, "PostgreSQL refuses the user or password in DATABASE_URL"),
    "3D": (StorageRefused, "the database named in DATABASE_URL does not exist"),
    "40": (StorageUnavailable, "PostgreSQL rolled the transaction back in favour of another; try again"),
    "53": (StorageUnavailable, "PostgreSQL is out of connections, memory or disk"),
    "55": (StorageUnavailable, "PostgreSQL has what is needed in use"),
    "57": (StorageUnavailable, "PostgreSQL is shutting down or starting"),
    "58": (StorageUnavailable, "PostgreSQL has trouble with its own system"),
}
_ANSWERED: Final = (StorageError, "PostgreSQL reported an error")
_UNREACHABLE: Final = (StorageUnavailable, "PostgreSQL cannot be reached at the address in DATABASE_URL")
_NO_ANSWER: Final = (StorageUnavailable, "PostgreSQL did not answer in time")
_NO_TLS: Final = (StorageRefused, "PostgreSQL's server has no TLS, which the sslmode in DATABASE_URL asks for")
_UNUSABLE: Final = (StorageRefused, "the options in DATABASE_URL cannot be used; check sslmode and its certificates")
_BUSY: Final = (StorageUnavailable, "all connections to PostgreSQL stayed in use; raise DATABASE_POOL_SIZE or ask less at once")

# The driver has no class for it; a test holds its words.
_TLS_REFUSED: Final = "rejected SSL upgrade"

_WRAPPINGS_MAX: Final = 8

DRIVER_ERRORS: Final = (
    sa.exc.DBAPIError, sa.exc.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
    OSError, asyncio.TimeoutError,
)  # fmt: skip


@contextmanager
def translated() -> Iterator[None]:
    """Raises the domain's error for the driver's. What is no driver's error passes."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translate(error) from error


def translate(error: BaseException) -> StorageError:
    """The domain's error for a driver's, with the SQLSTATE where there is one."""
    kind: type[StorageError]
    kind, message = _UNREACHABLE
    state = _sqlstate(error)
    if state is not None:
        kind, message = _BY_SQLSTATE.get(state) or _BY_SQLSTATE.get(state[:2]) or _ANSWERED
        message = f"{message} (SQLSTATE {state})"
    elif isinstance(error, sa.exc.TimeoutError):
        kind, message = _BUSY
    elif any(isinstance(cause, asyncio.TimeoutError) for cause in _causes(error)):
        kind, message = _NO_ANSWER
    elif any(isinstance(cause, ConnectionError) and _TLS_REFUSED in str(cause) for cause in _causes(error)):
        kind, message = _NO_TLS
    elif any(isinstance(cause, (asyncpg.ClientConfigurationError, ssl.SSLError)) for cause in _causes(error)):
        kind, message = _UNUSABLE
    return kind(message)


def connection_was_lost(error: BaseException) -> bool:
    """Whether the error tells of a connection that had died before: then asking once more on another one may succeed."""
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


async def once_more_if_connection_was_lost(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` returns. Asked a second time, and no more, if its connection turns out to have died before; errors come translated."""
    with translated():
        try:
            return await ask()
        except sa.exc.DBAPIError as error:
            if not connection_was_lost(error):
                raise
        return await ask()  # The pool was emptied by the first failure: this is a new connection.


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it wraps or came from: SQLAlchemy wraps the driver's errors twice."""
    for _ in range(_WRAPPINGS_MAX):
        if error is None:
            return
        yield error
        error = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error.__cause__


def _sqlstate(error: BaseException) -> str | None:
    states = (getattr(cause, "sqlstate", None) for cause in _causes(error))
    return next((state for state in states if isinstance(state, str)), None)
