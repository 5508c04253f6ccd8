"""What the costs are counted on: a cache over the smallest truth, and the whole service."""

from __future__ import annotations

from tests.cache.conftest import caches, raw, truth
from tests.http.api.conftest import service, settings
from tests.stores import closed_port, engine

__all__ = ["caches", "closed_port", "engine", "raw", "service", "settings", "truth"]
