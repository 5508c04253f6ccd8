"""A flock that ends with the process that holds it, and never lives on in its children."""

from __future__ import annotations

import functools
import os
import sys
import weakref
from typing import TYPE_CHECKING

from adapters.embedded.machine import hand_over

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path


class Lock:
    """A flock on a file, through an opening of its own, so that holders within one process count one by one."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this instance holds it."""
        return self._descriptor is not None

    def take(self, *, shared: bool) -> bool:
        """Take it without waiting; False if others hold it."""
        _let_forked_children_forget()
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _held.add(self)
        try:
            hand_over(self.path)
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            # The folder may have been removed and made again while we came: then this is a lock on nothing.
            taken = os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except BlockingIOError:
            taken = False
        except BaseException:
            self.forget()
            raise
        if not taken:
            self.forget()
        return taken

    def release(self) -> None:
        """Give it back, if it is held."""
        if self._descriptor is not None:
            # Unlocked by name: closing would not do while a forked child still has the descriptor.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.forget()

    def forget(self) -> None:
        """Close the descriptor, and leave the lock to whoever else has it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


@functools.cache
def _let_forked_children_forget() -> None:
    """Keep our locks out of children that are forked without a new program, or a worker would keep them when we are killed."""

    def forget() -> None:
        for lock in list(_held):
            lock.forget()

    os.register_at_fork(after_in_child=forget)
