"""Ports for servers that must be told theirs before they listen."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from typing import Final

# Below what systems give to outgoing connections (from 32768 on Linux, from 49152 elsewhere): those of tests beside this one would else
# take a port between the moment when it is found free and the one when its server listens.
_FIRST: Final = 12_000
_LAST: Final = 32_000
_TRIES: Final = 1_000


def free_ports(count: int) -> list[int]:
    """Some ports of 127.0.0.1, all different, that nobody listened at a moment ago."""
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
    raise AssertionError(f"fewer than {count} of {_TRIES} ports are free")
