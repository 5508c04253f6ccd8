"""The works that `emg-sessions bench` runs, in this order. Importing it imports the peers, which are of the extra `bench`."""

from __future__ import annotations

from typing import Final

from adapters.entrypoints.bench.stage import Work
from adapters.entrypoints.bench.works.hits import hits

WORKS: Final = (Work("hits", "Hits, one reader", hits, weight=5.0),)
