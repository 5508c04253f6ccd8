"""What servers need from the machine: an account, folders it may enter, an environment."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from domain.errors import InvalidSettings

if sys.platform != "win32":
    import pwd

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

SYSTEM_USER = "emg-sessions"  # Runs PostgreSQL, which refuses root, where the program runs as root.


class Account(NamedTuple):
    """A user and group of this machine."""

    uid: int
    gid: int


def owner_unless_root(path: Path) -> Account | None:
    """As root name the owner of a folder, to act in his place; None where we act as ourselves."""
    if os.geteuid() != 0:
        return None
    found = path.stat()
    return None if found.st_uid == 0 else Account(found.st_uid, found.st_gid)


def spawn(command: list[str], log: BinaryIO, account: Account | None) -> subprocess.Popen[bytes]:
    """Start a program apart from our terminal, as the account if there is one, with nothing of ours but the log."""
    return subprocess.Popen(  # noqa: S603 - binaries of installed packages, and arguments without a shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=_environment(),
        close_fds=True,
        umask=0o077,
        start_new_session=True,  # Ctrl-C in the terminal is for us: a server stops when its last user leaves.
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def _environment() -> dict[str, str]:
    """Give servers what programs need to run, and neither our secrets nor the settings of other PostgreSQLs."""
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"}


def make_private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for us alone."""
    try:
        for folder in reversed((path, *path.parents)):
            if not folder.exists():
                with suppress(FileExistsError):
                    folder.mkdir(mode=0o700)
                    hand_over(folder)
    except OSError as error:
        raise InvalidSettings(f"DATA_DIR: the folder {path} cannot be made ({error.strerror})") from None


def is_private_folder(path: Path, account: Account | None) -> bool:
    """Tell whether it is a folder of ours (or the account's) that nobody else can enter."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    owners = {os.geteuid(), account.uid} if account else {os.geteuid()}
    return stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not found.st_mode & 0o077


def hand_over(path: Path) -> None:
    """As root, give what we made to the owner of its folder, who could not use his own data after us otherwise."""
    owner = owner_unless_root(path.parent)
    if owner and not path.parent.stat().st_mode & stat.S_ISVTX:
        os.chown(path, *owner)


def let_traverse(path: Path, account: Account) -> None:
    """Let the account pass through a folder and those above it: the x bit where it is missing, and never a right to read."""
    for folder in (path, *path.parents):
        found = folder.stat()
        if found.st_uid == account.uid:
            bit = stat.S_IXUSR
        elif found.st_gid == account.gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not found.st_mode & bit:
            folder.chmod(stat.S_IMODE(found.st_mode) | bit)


def system_user(deadline: float) -> Account:
    """Find the user that runs PostgreSQL for root, or make it; others may be making it at this moment.

    The wheel's helper is not used: it makes a user with a login shell.
    """
    refused = ""
    while True:
        with suppress(KeyError):
            found = pwd.getpwnam(SYSTEM_USER)
            return Account(found.pw_uid, found.pw_gid)
        others_at_it = "already exists" in refused or "lock" in refused
        if refused and (not others_at_it or time.monotonic() > deadline):
            message = (
                f"PostgreSQL refuses to run as root, and no user {SYSTEM_USER} could be made for it ({refused}): "
                "run this program as another user, or set DATABASE_URL"
            )
            raise InvalidSettings(message)
        if refused:
            time.sleep(0.05)
        refused = _make_system_user()


def _make_system_user() -> str:
    """Return why it was refused, or nothing."""
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/", "--shell", "/bin/false", SYSTEM_USER]
    try:
        made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except FileNotFoundError:
        return "there is no useradd"
    return "" if made.returncode == 0 else made.stderr.strip() or f"useradd ended with {made.returncode}"
