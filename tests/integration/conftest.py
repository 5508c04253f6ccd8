"""Real servers with tables."""

from __future__ import annotations

from tests.stores import closed_port, engine

__all__ = ["closed_port", "engine"]
