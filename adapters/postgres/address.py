"""DATABASE_URL: the forms people have it in, and those of libpq's options that can be kept.

The engine's URL keeps the options in libpq's names, for the queue's driver is libpq; asyncpg gets them as arguments. An option that one of
the two would pass over in silence is refused: who asks for `channel_binding=require` must not be connected without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import sqlalchemy as sa

from domain.errors import InvalidSettings

_SCHEMES: Final = {"postgres", "postgresql", "postgresql+asyncpg"}
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSION_ATTRS: Final = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_CERTIFICATES: Final = (*_FILES, "sslpassword")
_HOSTS: Final = ("host", "port")
_OPTIONS: Final = frozenset(
    {*_HOSTS, "user", "password", "passfile", "ssl", "target_session_attrs", "application_name", "connect_timeout", *_CERTIFICATES}
)
# What the driver does not take by these names; `asyncpg_arguments` gives it in another way.
TRANSLATED: Final = ("application_name", "connect_timeout", *_CERTIFICATES)


def asyncpg_url(text: str) -> sa.URL:
    """The URL for SQLAlchemy over asyncpg, from any of the forms people have: postgres://, postgresql://, with libpq's options.

    Raises InvalidSettings without repeating the text, which may hold a password.
    """
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise InvalidSettings("DATABASE_URL is not a URL; one looks like postgresql://user:password@host:5432/database") from None
    if url.drivername not in _SCHEMES:
        raise InvalidSettings(f"DATABASE_URL must begin with postgresql://, not {url.drivername}://")
    if not url.database:
        raise InvalidSettings("DATABASE_URL names no database; one looks like postgresql://user:password@host:5432/database")
    sslmode = url.query.get("sslmode")
    if sslmode is not None:
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": sslmode})
    for name, value in url.query.items():
        _check(name, value)
    return url.set(drivername="postgresql+asyncpg")


def asyncpg_arguments(url: sa.URL, *, connect_s: float, server_settings: dict[str, str]) -> dict[str, Any]:
    """What asyncpg connects with: `connect_s` and the server's settings, unless the URL says otherwise, and the certificates."""
    given = {name: str(value) for name, value in url.query.items()}
    arguments: dict[str, Any] = {"timeout": float(given.get("connect_timeout", connect_s)), "server_settings": dict(server_settings)}
    if "application_name" in given:
        arguments["server_settings"]["application_name"] = given["application_name"]
    certificates: dict[str, str] = {name: given[name] for name in _CERTIFICATES if name in given}
    if certificates:
        # The driver takes them in a DSN alone; what else it needs are arguments, which go before a DSN.
        if "ssl" in given:
            certificates["sslmode"] = given["ssl"]
        arguments["dsn"] = f"postgresql://?{urlencode(certificates)}"
    return arguments


def _check(name: str, value: str | tuple[str, ...]) -> None:
    if name not in _OPTIONS:
        shown = name if name.isidentifier() and len(name) <= 40 else "an option"
        known = ", ".join(sorted(_OPTIONS - {"ssl", "user", "password"} | {"sslmode"}))
        raise InvalidSettings(f"DATABASE_URL: {shown} cannot be kept by this program, leave it out; it knows {known}")
    if name in _HOSTS:
        return
    shown = "sslmode" if name == "ssl" else name
    if not isinstance(value, str):
        raise InvalidSettings(f"DATABASE_URL: {shown} is given more than once")
    if not value.isprintable():
        raise InvalidSettings(f"DATABASE_URL: {shown} must be printable")
    if name == "ssl" and value not in _SSL_MODES:
        raise InvalidSettings(f"DATABASE_URL: sslmode must be one of {', '.join(_SSL_MODES)}")
    if name == "target_session_attrs" and value not in _SESSION_ATTRS:
        raise InvalidSettings(f"DATABASE_URL: target_session_attrs must be one of {', '.join(_SESSION_ATTRS)}")
    if name == "connect_timeout" and not (value.isascii() and value.isdigit() and 1 <= len(value) <= 4 and int(value)):
        raise InvalidSettings("DATABASE_URL: connect_timeout must be a whole number of seconds from 1 to 9999")
    if name in _FILES and not Path(value).is_file():
        raise InvalidSettings(f"DATABASE_URL: {name} names no file that can be read")
