"""Connections of procrastinate's to PostgreSQL, which are psycopg's: every timeout in sight, and errors as the domain's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from procrastinate.exceptions import ConnectorException

from domain.errors import StorageError, StorageNotReady, StorageRefused, StorageUnavailable

ERRORS: Final = (psycopg.Error, ConnectorException, OSError)

_KINDS: Final[tuple[tuple[type[BaseException], type[StorageError], str], ...]] = (
    (psycopg.errors.InsufficientPrivilege, StorageRefused, "PostgreSQL does not grant this user the rights the queue needs"),
    (psycopg.errors.UndefinedTable, StorageNotReady, "the queue's tables are not there; run: emg-sessions db upgrade"),
    (psycopg.errors.UndefinedFunction, StorageNotReady, "the queue's tables are older than this program; run: emg-sessions db upgrade"),
    (psycopg.OperationalError, StorageUnavailable, "PostgreSQL cannot be reached at the address in DATABASE_URL, or broke off"),
    (psycopg.Error, StorageError, "PostgreSQL reported an error to the queue"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConnections:
    """Where PostgreSQL is, and the bounds on waiting for it. The address may hold a password: it is in no repr."""

    database_url: str
    connect_s: float = 5.0
    statement_s: float = 10.0
    pool_wait_s: float = 5.0

    def __repr__(self) -> str:
        return "QueueConnections(…)"

    def conninfo(self) -> str:
        """The address as libpq knows it, from any form that DATABASE_URL may have."""
        parts = urlsplit(self.database_url)
        query = [("sslmode" if name == "ssl" else name, value) for name, value in parse_qsl(parts.query)]
        return parts._replace(scheme="postgresql", query=urlencode(query, quote_via=quote)).geturl()

    def options(self) -> dict[str, Any]:
        """What every connection is made with."""
        statement_ms = round(self.statement_s * 1000)
        given = {name for name, _ in parse_qsl(urlsplit(self.database_url).query)}
        options = {
            "connect_timeout": max(round(self.connect_s), 2),  # libpq takes whole seconds, two at least.
            "tcp_user_timeout": statement_ms + 1000,  # A network that swallows everything is noticed.
            "application_name": "emg-sessions worker",
            "options": f"-c statement_timeout={statement_ms} -c lock_timeout={statement_ms} -c timezone=UTC",
        }
        # What the address says goes before, as it does for the other driver.
        return {name: value for name, value in options.items() if name not in given}


@contextmanager
def translated() -> Iterator[None]:
    """Raises the domain's error for the driver's and procrastinate's."""
    try:
        yield
    except ERRORS as error:
        raise translate(error) from error


def translate(error: BaseException) -> StorageError:
    """The domain's error for a driver's or procrastinate's."""
    cause: BaseException = error.__cause__ if isinstance(error, ConnectorException) and error.__cause__ is not None else error
    for kind, storage_error, message in _KINDS:
        if isinstance(cause, kind):
            state = getattr(cause, "sqlstate", None)
            return storage_error(f"{message} (SQLSTATE {state})" if state else message)
    return StorageUnavailable("PostgreSQL did not answer the queue in time")
