"""Previews as bytes: a zstd frame, with a checksum, of a line that describes the signals, and of their arrays."""

from __future__ import annotations

import json
from typing import Final

import numpy as np
import zstandard

from domain.signals import POINTS_ANSWER_MAX, ReducedSignal, SignalKind, SignalPreview

_LEVEL: Final = 3
_SAMPLE: Final = np.dtype("<u4")
_VALUE: Final = np.dtype("<f4")
# Texts of a channel without its signal are the longest part beside the points.
PLAIN_BYTES_MAX: Final = POINTS_ANSWER_MAX * (_SAMPLE.itemsize + _VALUE.itemsize) + 500_000


def encode(preview: SignalPreview) -> bytes:
    """The preview as bytes. Samples rise, so their differences are small, and compress well."""
    described = [[signal.channel, signal.kind.value, len(signal.samples), signal.missing] for signal in preview.signals]
    line = json.dumps([preview.key, described]).encode() + b"\n"
    arrays = [
        array.tobytes()
        for signal in preview.signals
        for array in (np.diff(signal.samples, prepend=np.uint32(0)).astype(_SAMPLE), signal.values.astype(_VALUE))
    ]
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(line + b"".join(arrays))


def decode(data: bytes, key: str) -> SignalPreview | None:
    """The preview in these bytes; None if they are damaged, or are no preview with this key."""
    try:
        if not 0 <= zstandard.frame_content_size(data) <= PLAIN_BYTES_MAX:
            return None
        line, _, rest = zstandard.ZstdDecompressor().decompress(data).partition(b"\n")
        kept_key, described = json.loads(line)
        signals, at = [], 0
        for channel, kind, points, missing in described:
            steps = np.frombuffer(rest, _SAMPLE, points, at)
            values = np.frombuffer(rest, _VALUE, points, at + steps.nbytes)
            at += steps.nbytes + values.nbytes
            samples = np.cumsum(steps, dtype=np.uint32)
            signals.append(ReducedSignal(channel, SignalKind(kind), samples, values.astype(np.float32), missing))
    except (zstandard.ZstdError, ValueError, TypeError):
        return None
    return SignalPreview(key, tuple(signals)) if kept_key == key and at == len(rest) else None
