"""Explores more than CI has time for: `python -m tests.model` the list below, `python -m tests.model 3 2 1 2 1 0` bounds of one's own."""

from __future__ import annotations

import sys
import time

from tests.model.explorer import explore
from tests.model.process import CachingProcess, ProcessBounds
from tests.model.protocol import Bounds, CoherenceProtocol

# A million states take about a minute and half a gigabyte.
STATES_MAX = 20_000_000

PROTOCOL_BOUNDS = [
    Bounds(writes=1, losses=1, failovers=1),
    Bounds(writes=1, losses=2, failovers=1),
    Bounds(writes=1, relays=2, failovers=1),
    Bounds(writes=1, relays=2, losses=1, failovers=1, retries=False),
    Bounds(writes=2, readers=2, losses=1, retries=False),
    Bounds(writes=2, relays=2, losses=1, retries=False),
    Bounds(writes=2, failovers=1),
    Bounds(writes=2, bound_ticks=2, losses=1),
    Bounds(writes=3, readers=2, deletes=frozenset({2}), retries=False),
]

PROCESS_BOUNDS = [
    ProcessBounds(writes=1, coalescing=False, failovers=1),
    ProcessBounds(writes=2, coalescing=False),
    ProcessBounds(writes=2, near_copy=False, failovers=1),
]


def main(arguments: list[str]) -> int:
    """Explores and prints; 1 if a promise was broken."""
    if arguments:
        writes, readers, relays, bound_ticks, losses, failovers = map(int, arguments)
        own = Bounds(writes=writes, readers=readers, relays=relays, bound_ticks=bound_ticks, losses=losses, failovers=failovers)
        return _report(own)
    everything: list[Bounds | ProcessBounds] = [*PROTOCOL_BOUNDS, *PROCESS_BOUNDS]
    return max(map(_report, everything))


def _report(bounds: Bounds | ProcessBounds) -> int:
    print(bounds, flush=True)  # noqa: T201
    begun = time.perf_counter()
    if isinstance(bounds, Bounds):
        seen = explore(CoherenceProtocol(bounds), states_max=STATES_MAX, progress=True)
        counterexample = None if seen.counterexample is None else str(seen.counterexample)
    else:
        seen_too = explore(CachingProcess(bounds), states_max=STATES_MAX, progress=True)
        counterexample = None if seen_too.counterexample is None else str(seen_too.counterexample)
    print(counterexample or "every promise kept", f"in {time.perf_counter() - begun:.0f} s\n", flush=True)  # noqa: T201
    return int(counterexample is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
