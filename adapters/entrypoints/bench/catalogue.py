"""The works that `emg-sessions bench` runs, in this order. Importing it imports the peers, which are of the extra `bench`."""

from __future__ import annotations

from typing import Final

from adapters.entrypoints.bench.stage import Work
from adapters.entrypoints.bench.works.batches import batches
from adapters.entrypoints.bench.works.growth import growth
from adapters.entrypoints.bench.works.hits import hits
from adapters.entrypoints.bench.works.http import http
from adapters.entrypoints.bench.works.memory import memory
from adapters.entrypoints.bench.works.misses import misses
from adapters.entrypoints.bench.works.outage import outage
from adapters.entrypoints.bench.works.readers import readers
from adapters.entrypoints.bench.works.sizes import sizes
from adapters.entrypoints.bench.works.staleness import staleness
from adapters.entrypoints.bench.works.stampede import stampede
from adapters.entrypoints.bench.works.writes import writes

WORKS: Final = (
    Work("hits", "Hits", hits, weight=6.0),
    Work("misses", "Misses", misses, weight=4.0),
    Work("writes", "Writes", writes, weight=3.0),
    Work("batches", "Batches", batches, weight=4.0),
    Work("readers", "Concurrent readers", readers, weight=15.0),
    Work("stampede", "Stampede", stampede, weight=5.0),
    Work("sizes", "Sizes of documents", sizes, weight=6.0),
    Work("memory", "Redis memory", memory, weight=1.0),
    Work("staleness", "Staleness while others write", staleness, weight=8.0),
    Work("outage", "An outage of Redis", outage, weight=11.0),
    Work("http", "HTTP", http, weight=14.0),
    Work("growth", "Growth", growth, weight=5.0),  # Last: it leaves many rows in the database.
)
