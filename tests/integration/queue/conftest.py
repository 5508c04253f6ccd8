"""A database of each test's own: the queue's tables are part of what is tested."""

from __future__ import annotations

from tests.stores import fresh_engine, queue_connections

__all__ = ["fresh_engine", "queue_connections"]
