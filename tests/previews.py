"""Previews for tests."""

from __future__ import annotations

import hashlib

import numpy as np

from domain.signals import ReducedSignal, SignalKind, SignalPreview


def key_of(name: object) -> str:
    """The key of a plan that nobody made."""
    return hashlib.sha256(repr(name).encode()).hexdigest()


def some_preview(name: object = 0, points: int = 300) -> SignalPreview:
    """A preview of two signals, one of which is missing."""
    random = np.random.default_rng(int(key_of(name)[:8], 16))
    samples = np.cumsum(random.integers(1, 2**32 // 10_000, points)).astype(np.uint32)
    values = random.normal(0, 1e-4, points).astype(np.float32)
    return SignalPreview(
        key_of(name),
        (
            ReducedSignal("Größe→\n", SignalKind.RAW, samples, values),
            ReducedSignal("CH2", SignalKind.ACTIVATED, np.empty(0, np.uint32), np.empty(0, np.float32), missing="there is none"),
        ),
    )


def same(one: SignalPreview | None, other: SignalPreview | None) -> bool:
    """Whether two previews are equal, to the bit."""
    if one is None or other is None:
        return one is other
    return one.key == other.key and [_told(signal) for signal in one.signals] == [_told(signal) for signal in other.signals]


def _told(signal: ReducedSignal) -> tuple[object, ...]:
    arrays = [(array.dtype.str, array.tobytes()) for array in (signal.samples, signal.values)]
    return signal.channel, signal.kind, signal.missing, *arrays
