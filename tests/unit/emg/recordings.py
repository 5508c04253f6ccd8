"""Recordings of arrays, for the tests of the analysis."""

from __future__ import annotations

import numpy as np

from domain.analytics import RecordingFacts
from domain.emg.recording import Channel, Recording, Signal

FS = 990.0


def facts(samples: int, fs: float = FS) -> RecordingFacts:
    return RecordingFacts("made.c3d", "ab" * 32, 1234, fs, samples, samples / fs, None, None, None)


def recording(*channels: Channel, fs: float = FS) -> Recording:
    return Recording(facts(max((len(channel.raw) for channel in channels), default=0), fs), channels)


def noise(samples: int, *, seed: int = 0, level: float = 1e-4) -> Signal:
    return np.random.default_rng(seed).normal(0.0, level, samples)


def bursts(samples: int, *on: tuple[int, int], level: float = 1e-3) -> Signal:
    """1e-3 in the given ranges, 0 elsewhere."""
    x = np.zeros(samples)
    for start, end in on:
        x[start:end] = level
    return x
