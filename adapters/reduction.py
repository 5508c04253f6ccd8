"""Reduces signals for plotting, with tsdownsample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tsdownsample import MinMaxDownsampler

from domain.emg.recording import Signal
from domain.ports import SignalReducer


@dataclass(frozen=True, slots=True)
class MinMaxReducer(SignalReducer):
    """Divides a signal into stretches of equal length, and keeps the least and the greatest value of each.

    So every peak is drawn at its full height, however far one looks away: what every n-th sample, or a choice by the area of triangles, may
    miss. A plot shows peaks of EMG, which are one sample wide.
    """

    def reduce(self, values: Signal, points: int) -> NDArray[np.intp]:
        """See the port. An odd number of points leaves one unused."""
        if len(values) <= points:
            return np.arange(len(values), dtype=np.intp)
        reducer = MinMaxDownsampler()  # type: ignore[no-untyped-call]  # tsdownsample types most of itself, not this
        kept = reducer.downsample(np.ascontiguousarray(values), n_out=points - points % 2)
        return np.unique(kept).astype(np.intp)  # A stretch of one value names it twice.
