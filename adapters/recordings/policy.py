"""Every bound of the recording store, checked when it is built."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from domain.errors import InvalidSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPolicy:
    """How large a recording may be, and how long anybody waits."""

    bytes_max: int = 128_000_000
    arrival_s: float = 3600.0
    """How long a recording may take to arrive. Whoever sends too slowly is cut off much earlier, by whoever receives it."""
    connect_s: float = 5.0
    """How long connecting to S3 may take."""
    transfer_s: float = 60.0
    """How long one request to the store may take, with the bytes of a whole recording."""
    transfers_max: int = 4
    """Recordings sent to or fetched from S3 at once; more wait, up to `transfer_s`. One that is sent is in memory meanwhile."""
    retries: int = 2
    leftover_s: float = 24 * 3600.0
    """A temporary file of this age belongs to a process that was killed."""

    def __post_init__(self) -> None:
        for bound in fields(self):
            value = getattr(self, bound.name)
            if not isfinite(value) or value < 0 or (value == 0 and bound.name != "retries"):
                raise InvalidSettings(f"the recording store's {bound.name} must be a number above 0, not {value}")
        if self.leftover_s <= self.arrival_s + self.transfer_s:
            raise InvalidSettings("the recording store's leftover_s must be longer than a recording may take to arrive and to be sent")
