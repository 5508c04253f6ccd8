"""Servers as addresses name them: host:port,host:port."""

from __future__ import annotations

from typing import TypeAlias

Place: TypeAlias = tuple[str, int]


def places(text: str, default_port: int) -> tuple[Place, ...]:
    """The places in a list. Raises ValueError."""
    return tuple(_place(place, default_port) for place in text.split(","))


def _place(text: str, default_port: int) -> Place:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default_port)
    if not host.strip("[]"):
        raise ValueError("a server without a name")
    return host.strip("[]"), int(port)
