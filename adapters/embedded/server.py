"""The life of an embedded server, whatever it serves: found or started by the first user, stopped by the last."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from adapters.embedded.lock import Lock
from adapters.embedded.machine import hand_over, is_private_folder, let_traverse, make_private_folder, spawn
from adapters.embedded.watch import start_watch
from domain.errors import InvalidSettings, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    import psutil

    from adapters.embedded.machine import Account

_SOCKET_PATH_BYTES_MAX = 100  # The kernel's limit, with the ending zero, is 108 (Linux) and 104 (macOS).
_LOG_BYTES_MAX = 4 * 2**20  # A larger log is put aside at the next start; one predecessor is kept.
_LOG_BYTES_SHOWN = 4096
_LOG_LINES_SHOWN = 6
_POLL_S_MAX = 0.05
_FOLDER_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each wait may take; what has not happened by then is an error."""

    lock_s: float = 60.0
    start_s: float = 45.0
    stop_s: float = 30.0
    poll_s: float = 0.02

    def __post_init__(self) -> None:
        """Check that who waits for the lock outlasts who starts or stops the server under it."""
        if not 0 < self.poll_s <= _POLL_S_MAX:
            message = f"poll_s is {self.poll_s}; it must be above 0 and at most {_POLL_S_MAX}"
            raise InvalidSettings(message)
        if not 0 < self.start_s <= self.lock_s or not 0 < self.stop_s <= self.lock_s:
            message = f"start_s ({self.start_s}) and stop_s ({self.stop_s}) must be above 0 and at most lock_s ({self.lock_s})"
            raise InvalidSettings(message)


class EmbeddedServer(ABC):
    """One user's hold on the server of a data folder: open() takes it, close() gives it back.

    Every instance is a user of its own, so several threads or parts of a program take one each; a single instance is for one thread at a
    time. open() on an open instance looks after the server again, and starts a new one at the same address if it died meanwhile.
    """

    _title: ClassVar[str]
    _setting: ClassVar[str]
    _executable: ClassVar[str]
    _socket_name: ClassVar[str]
    _stop_signals: ClassVar[tuple[str, ...]]  # From polite to certain; by name, since Windows, which gets an error later, lacks some.

    def __init__(self, data_dir: Path, *, patience: Patience | None = None) -> None:
        """Name the data folder, which open() makes if it is missing."""
        self._data_dir = data_dir.expanduser().resolve()
        self._folder = self._data_dir / self._title.lower()
        self._log = self._folder / f"{self._title.lower()}.log"
        self._log_start = 0
        self._patience = patience or Patience()
        self._users = Lock(self._folder / "users.lock")

    def open(self) -> str:
        """Return the server's URL, once it answers.

        Raises InvalidSettings where this machine, folder or installation cannot serve, and StorageUnavailable where the server did not come
        up in time. Either way nothing is left running that nobody uses.
        """
        if sys.platform == "win32":
            message = f"the embedded {self._title} needs Linux or macOS; set {self._setting} to a server"
            raise InvalidSettings(message)
        self._require("psutil")
        with self._deciding():
            try:
                self._join()
                self._find_or_start()
                return self._url()
            except BaseException:
                self._leave()
                raise

    def close(self) -> None:
        """Give the hold back; stop the server if nobody holds it any more.

        It may be called twice. On an instance that never opened, it stops a server that a killed program left behind and nobody uses.
        """
        if self._folder.is_dir():
            with self._deciding():
                self._leave()

    def pid(self) -> int | None:
        """Return the process id of the folder's server, None if none runs."""
        process = self._find()
        return None if process is None else process.pid

    def __enter__(self) -> str:
        """Open, and give the URL."""
        return self.open()

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @contextmanager
    def _deciding(self) -> Iterator[None]:
        """Hold start.lock, and say in our words what the system refuses."""
        import psutil  # noqa: PLC0415 - of an optional extra

        start = Lock(self._folder / "start.lock")
        try:
            make_private_folder(self._folder)
            self._await(start)
            yield
        except OSError as error:
            what = f"the embedded {self._title} in {self._folder}: {error}"
            if error.errno in _FOLDER_ERRORS:
                message = f"{what}; set DATA_DIR to a folder of yours, or {self._setting} to a server"
                raise InvalidSettings(message) from error
            raise StorageUnavailable(what) from error
        except (psutil.Error, subprocess.SubprocessError) as error:
            message = f"the embedded {self._title} in {self._folder}: {error}"
            raise StorageUnavailable(message) from error
        finally:
            start.release()

    def _await(self, lock: Lock) -> None:
        deadline = time.monotonic() + self._patience.lock_s
        while not lock.take(shared=False):
            if time.monotonic() > deadline:
                message = f"{lock.path} is still locked after {self._patience.lock_s:g} s, by a program that starts or stops {self._title}"
                raise StorageUnavailable(message)
            time.sleep(self._patience.poll_s)

    def _join(self) -> None:
        if not self._users.held and not self._users.take(shared=True):
            message = f"{self._users.path} is locked by another program than ours"
            raise StorageUnavailable(message)

    def _leave(self) -> None:
        self._users.release()
        if not self._users.take(shared=False):
            return  # Others are still here.
        try:
            process = self._find()
            if process is not None:
                self._end(process)
        finally:
            self._users.release()

    def _find_or_start(self) -> None:
        deadline = time.monotonic() + self._patience.start_s
        process = self._find()
        if process is not None and not self._socket().exists():
            self._end(process)  # Nobody can reach it any more: somebody tidied the temporary folder up.
            process = None
        launched = False
        while process is None or not self._becomes_ready(process, deadline):
            if launched and not self._can_mend():
                message = f"{self._title} ended while starting; its log {self._log} ends: {self._log_end()}"
                raise StorageUnavailable(message)
            process = self._launch(self._prepare(deadline))
            launched = True
        self._settle()

    def _becomes_ready(self, process: psutil.Process, deadline: float) -> bool:
        """Return True when it answers, False when it has ended."""
        while not self._answers():
            if _gone(process):
                return False
            if time.monotonic() > deadline:
                message = (
                    f"{self._title} (process {process.pid}) does not answer after {self._patience.start_s:g} s; "
                    f"its log {self._log} ends: {self._log_end()}"
                )
                raise StorageUnavailable(message)
            time.sleep(self._patience.poll_s)
        return True

    def _find(self) -> psutil.Process | None:
        """Find the living server of this folder: its program, its command line and its owner must all be right."""
        import psutil  # noqa: PLC0415 - of an optional extra

        home = self._home()
        if not home.is_dir():
            return None
        owner = home.stat().st_uid
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                arguments = process.cmdline()
                if not arguments or Path(arguments[0]).name != self._executable or str(home) not in arguments:
                    continue
                if process.uids().effective == owner and not _gone(process):
                    found[process.pid] = (process, process.ppid())
        # A child that it has just forked still looks the same.
        return next((process for process, parent in found.values() if parent not in found), None)

    def _launch(self, account: Account | None) -> psutil.Process:
        import psutil  # noqa: PLC0415 - of an optional extra

        with self._logging() as log:
            server = spawn(self._command(), log, account)
        process = psutil.Process(server.pid)
        # It is our child as long as we live, whoever stops it: somebody must collect it, or it would linger as a zombie.
        threading.Thread(target=server.wait, name=f"{self._title} {server.pid}", daemon=True).start()
        start_watch(self, self._data_dir, server.pid)
        return process

    def _end(self, process: psutil.Process) -> None:
        """Stop it: as it likes best at first, in ever harsher ways if it stays."""
        import psutil  # noqa: PLC0415 - of an optional extra

        each_s = self._patience.stop_s / (1 + len(self._stop_signals))
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)  # A process that was stopped obeys nothing but SIGKILL.
            ended = self._takes_leave(each_s) and self._ends_within(process, each_s)
            for harsher in self._stop_signals:
                if ended:
                    break
                process.send_signal(signal.Signals[harsher])
                ended = self._ends_within(process, each_s)
            if not ended:
                message = f"{self._title} (process {process.pid}) did not end within {self._patience.stop_s:g} s; see its log {self._log}"
                raise StorageUnavailable(message)
        if self._socket_dir().parent != self._folder:
            with suppress(OSError):
                self._socket_dir().rmdir()

    def _ends_within(self, process: psutil.Process, wait_s: float) -> bool:
        deadline = time.monotonic() + wait_s
        while not _gone(process):
            if time.monotonic() > deadline:
                return False
            time.sleep(self._patience.poll_s)
        return True

    @contextmanager
    def _logging(self) -> Iterator[BinaryIO]:
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES_MAX:
            self._log.replace(self._log.with_suffix(".log.1"))
        with os.fdopen(os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as log:
            hand_over(self._log)
            self._log_start = log.tell()
            yield log

    def _log_end(self) -> str:
        """Quote the last lines that were logged since the last start of ours."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(self._log_start, self._log.stat().st_size - _LOG_BYTES_SHOWN))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError as error:
            return f"(unreadable: {error.strerror})"
        return " | ".join(lines[-_LOG_LINES_SHOWN:]) or "(empty)"

    def _socket(self) -> Path:
        return self._socket_dir() / self._socket_name

    def _socket_dir(self) -> Path:
        """Choose the folder beside the data, if its path is short enough for a socket; else a private one below the temporary folder.

        The temporary folder is another for another program (TMPDIR), so the first program's choice is noted for the others.
        """
        beside = self._folder / "run"
        if len(os.fsencode(beside / self._socket_name)) <= _SOCKET_PATH_BYTES_MAX:
            return beside
        with suppress(FileNotFoundError):
            if noted := self._socket_note().read_text().strip():
                return Path(noted)
        mark = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
        short = Path(tempfile.gettempdir()).resolve() / f"emg-sessions-{mark}"
        if len(os.fsencode(short / self._socket_name)) > _SOCKET_PATH_BYTES_MAX:
            message = f"the paths of DATA_DIR ({self._data_dir}) and of TMPDIR ({short.parent}) are both too long for a socket"
            raise InvalidSettings(message)
        return short

    def _socket_note(self) -> Path:
        return self._folder / "socket_dir"

    def _make_socket_dir(self, account: Account | None) -> None:
        """Make the socket's folder while no server runs; make sure that it is ours, for anybody may have been first in a temporary one."""
        if not is_private_folder(self._socket_dir(), account):
            self._socket_note().unlink(missing_ok=True)
        folder = self._socket_dir()
        if not folder.exists():
            make_private_folder(folder)
            if account:
                os.chown(folder, *account)
        if not is_private_folder(folder, account):
            message = f"{folder} is not a private folder of ours, so a socket in it cannot be trusted; remove it, or set {self._setting}"
            raise InvalidSettings(message)
        if folder.parent != self._folder:
            self._socket_note().write_text(f"{folder}\n")
            hand_over(self._socket_note())
        if account:
            let_traverse(folder.parent, account)

    def _package(self, name: str) -> Path:
        """Find an installed package without importing it, which would take 0.2 s and warn about the environment."""
        return Path(self._require(name)).resolve().parent

    def _require(self, name: str) -> str:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            message = f"{self._setting} is not set, and {name} is not installed: set {self._setting}, or install emg-sessions[embedded]"
            raise InvalidSettings(message)
        return found.origin

    def _program(self, path: Path) -> Path:
        if not path.is_file():
            message = f"there is no embedded {self._title} for {platform.system()} {platform.machine()} ({path}); set {self._setting}"
            raise InvalidSettings(message)
        return path

    def _can_mend(self) -> bool:
        """After a start that failed: remove the cause, if it is known and harmless, so that another start may succeed."""
        return False

    def _settle(self) -> None:  # noqa: B027 - nothing to do is the usual case
        """Do what is left once it answers."""

    def _takes_leave(self, timeout_s: float) -> bool:  # noqa: ARG002 - for those who can be asked
        """Ask it to stop, where it can be asked otherwise than by a signal; False if that was refused."""
        return False

    @abstractmethod
    def _home(self) -> Path:
        """Name the folder that is an argument of its command line, and belongs to the account that runs it."""

    @abstractmethod
    def _prepare(self, deadline: float) -> Account | None:
        """Make what a start needs, remove what a killed server left; return the account to run it, None for our own."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Say how it is started."""

    @abstractmethod
    def _answers(self) -> bool:
        """Ask at the socket whether it serves."""

    @abstractmethod
    def _url(self) -> str:
        """Say how clients address it."""


def _gone(process: psutil.Process) -> bool:
    import psutil  # noqa: PLC0415 - of an optional extra

    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
