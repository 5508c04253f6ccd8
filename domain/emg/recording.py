"""A recording as the analysis sees it: facts and signals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.analytics import RecordingFacts

Signal = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One EMG channel; signals have shape (samples,), in the recording's unit. `activated` is the recorder's own activity signal."""

    name: str
    raw: Signal
    activated: Signal | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A recording with at least one channel, in sorted order of names."""

    facts: RecordingFacts
    channels: tuple[Channel, ...]
