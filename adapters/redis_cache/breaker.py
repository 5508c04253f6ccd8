"""Keeps a failing Redis from being asked over and over: closed, open, half-open with one probe."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

import structlog

# Redis' own words may quote the user's name.
REFUSED: Final = "Redis refuses the user or password in REDIS_URL"


class BreakerState(Enum):
    """closed: ask; open: do not; half_open: one probe is under way, everybody else does without."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


BREAKER_STATES: Final = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)
"""In the order of how far they are from letting everybody ask."""


def worst(states: Iterable[BreakerState]) -> BreakerState:
    """Of several breakers' states the one that is furthest from letting everybody ask."""
    return max(states, key=BREAKER_STATES.index, default=BreakerState.CLOSED)


class Breaker:
    """Opens after so many failures in a row, for about `open_s` (jittered, so that many processes do not probe at once)."""

    def __init__(
        self,
        failures_to_open: int,
        open_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        on_change: Callable[[BreakerState], None] = lambda _: None,
    ) -> None:
        self._failures_to_open = failures_to_open
        self._open_s = open_s
        self._clock = clock
        self._jitter = jitter
        self._on_change = on_change
        self._failures = 0
        self._probe_at = 0.0
        self._told_of_refusal = False
        self._log = structlog.get_logger(__name__)
        self.state = BreakerState.CLOSED
        self.refused = False
        """The last failure was that Redis does not let us in."""

    @property
    def doubts(self) -> bool:
        """Redis failed when it was asked last: a wait longer than a command's would be longer than is due."""
        return self._failures > 0

    def allows(self) -> bool:
        """Whether to ask now. Whoever is told yes must report `succeeded`, `failed` or `abandoned`."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN and self._clock() >= self._probe_at:
            self._become(BreakerState.HALF_OPEN)
            return True
        return False

    def succeeded(self) -> None:
        """Redis answered."""
        self._failures = 0
        self.refused = self._told_of_refusal = False
        if self.state is not BreakerState.CLOSED:
            self._become(BreakerState.CLOSED)
            self._log.info("cache_breaker_closed")

    def failed(self, *, to_connect: bool = False, refused: bool = False) -> None:
        """Redis did not answer, or not in time. Failing to connect at all opens at once: that wait is long, and leaves no doubt.

        `refused`: it does not let us in. That is told in the log once, until it does: only a person can mend it.
        """
        self.refused = refused
        if refused and not self._told_of_refusal:
            self._told_of_refusal = True
            self._log.warning("cache_refused", reason=REFUSED)
        self._failures += self._failures_to_open if to_connect else 1
        if self.state is BreakerState.HALF_OPEN or (self.state is BreakerState.CLOSED and self._failures >= self._failures_to_open):
            if self.state is BreakerState.CLOSED:
                self._log.warning("cache_breaker_opened", failures=self._failures)
            self._open()

    def abandoned(self) -> None:
        """The asker was cancelled and learned nothing. A probe is owed again, at once."""
        if self.state is BreakerState.HALF_OPEN:
            self._become(BreakerState.OPEN)

    def _open(self) -> None:
        self._become(BreakerState.OPEN)
        self._probe_at = self._clock() + self._open_s * (0.8 + 0.4 * self._jitter())

    def _become(self, state: BreakerState) -> None:
        self.state = state
        self._on_change(state)
