"""Ports for servers that must be told theirs before they listen, and find the same again when they are started anew."""

from __future__ import annotations

import errno
import random
import socket
from contextlib import ExitStack
from typing import Final

# Below what systems give to outgoing connections (from 32768 on Linux, from 49152 elsewhere): one of those might else have the port when
# its server listens. A client that asks again and again for a server that is gone may even be connected to itself.
_FIRST: Final = 12_000
_LAST: Final = 32_000
_TRIES: Final = 1_000


def free_ports(count: int) -> list[int]:
    """Some ports of 127.0.0.1, all different, that nobody listened at a moment ago. Raises OSError if there are not so many."""
    with ExitStack() as taken:
        ports: list[int] = []
        for port in random.SystemRandom().sample(range(_FIRST, _LAST), _TRIES):
            if len(ports) == count:
                return ports
            one = taken.enter_context(socket.socket())
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    raise OSError(errno.EADDRINUSE, f"fewer than {count} of {_TRIES} ports are free")
