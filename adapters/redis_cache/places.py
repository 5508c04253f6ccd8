"""Servers as addresses name them: host:port,host:port."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

_HOST: Final = re.compile(r"[0-9A-Za-z._:%-]+")

Place: TypeAlias = tuple[str, int]


def places(text: str, default_port: int) -> tuple[Place, ...]:
    """The places in a list. Raises ValueError."""
    return tuple(_place(place, default_port) for place in text.split(","))


def is_place(host: str, port: int) -> bool:
    """Whether what a server told is the name or address of a host, and a port."""
    return _HOST.fullmatch(host) is not None and 0 < port < 65_536


def _place(text: str, default_port: int) -> Place:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default_port)
    if not host.strip("[]"):
        raise ValueError("a server without a name")
    return host.strip("[]"), int(port)
