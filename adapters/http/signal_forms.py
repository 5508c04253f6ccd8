"""The forms in which signals are answered: JSON, an Arrow stream, and bare numbers."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
from arro3.core import Array, DataType, Field, Schema, Table
from arro3.io import write_ipc_stream
from numpy.typing import NDArray

from domain.signals import SignalPlan, SignalPreview

Form = Literal["json", "arrow", "float32"]

MEDIA_TYPES: Final[dict[Form, str]] = {
    "json": "application/json",
    "arrow": "application/vnd.apache.arrow.stream",
    "float32": "application/octet-stream",
}
"""By form, in the order of preference among those that a client wants equally."""

_DIGITS: Final = 7  # of a float32
_SHIFT_MAX: Final = 22  # Powers of ten up to here are exact as floats.
_HEADER_CHARACTERS_MAX: Final = 1_000
_RANGE: Final = re.compile(r"\s*([^\s;,/]+)/([^\s;,/]+)\s*(?:;.*)?")
_QUALITY: Final = re.compile(r";\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*(?:;|$)", re.IGNORECASE)


class Encoded(NamedTuple):
    """Signals in one form: the bytes, and the headers that describe them."""

    body: bytes
    headers: dict[str, str]


def form_wanted(accept: str | None) -> Form | None:
    """The form that a client wants most, by its Accept header (RFC 9110, 12.5.1); None: none of those that there are."""
    if accept is None or not accept.strip():
        return "json"
    ranges = []
    for element in accept[:_HEADER_CHARACTERS_MAX].split(","):
        if (found := _RANGE.fullmatch(element)) is not None:
            quality = _QUALITY.search(element)
            ranges.append((f"{found[1]}/{found[2]}".lower(), min(1.0, float(quality[1])) if quality else 1.0))
    wanted: dict[Form, float] = {}
    for form, media_type in MEDIA_TYPES.items():
        # The most specific range decides, not the one that wants it most.
        for described in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
            named = [quality for media_range, quality in ranges if media_range == described]
            if named:
                wanted[form] = max(named)
                break
    best = max(wanted, key=lambda form: wanted[form], default=None)
    return best if best is not None and wanted[best] > 0 else None


def encoded(plan: SignalPlan, preview: SignalPreview, form: Form) -> Encoded:
    """Signals in a form. Blocks for some milliseconds."""
    return _ENCODERS[form](plan, preview)


def _as_json(plan: SignalPlan, preview: SignalPreview) -> Encoded:
    document = {
        **_window(plan),
        "signals": [
            {
                "channel": signal.channel,
                "kind": signal.kind.value,
                "missing": signal.missing,
                "samples": signal.samples.tolist(),
                "values": _decimal(signal.values),
            }
            for signal in preview.signals
        ],
    }
    return Encoded(msgspec.json.encode(document), {})


def _as_arrow(plan: SignalPlan, preview: SignalPreview) -> Encoded:
    """One table with a row a point: `signal` numbers the signals, which the schema's metadata describe, as JSON."""
    points = [len(signal.samples) for signal in preview.signals]
    samples = np.concatenate([signal.samples for signal in preview.signals])
    columns = {
        "signal": (np.repeat(np.arange(len(points), dtype=np.uint16), points), DataType.uint16()),
        "sample": (samples, DataType.uint32()),
        "time_s": (samples / plan.sampling_rate_hz, DataType.float64()),
        "value": (np.concatenate([signal.values for signal in preview.signals]), DataType.float32()),
    }
    metadata = {"window": json.dumps(_window(plan)), "signals": json.dumps(_described(preview))}
    schema = Schema([Field(name, kind, nullable=False) for name, (_, kind) in columns.items()], metadata=metadata)
    table = Table.from_arrays([Array.from_numpy(np.ascontiguousarray(values)) for values, _ in columns.values()], schema=schema)
    stream = io.BytesIO()
    write_ipc_stream(table, stream, compression=None)
    return Encoded(stream.getvalue(), {})


def _as_float32(plan: SignalPlan, preview: SignalPreview) -> Encoded:
    """Little-endian float32: of each signal in turn the places of its points in the window, in samples, then their values."""
    arrays = [
        array.astype("<f4").tobytes() for signal in preview.signals for array in (signal.samples - np.uint32(plan.first), signal.values)
    ]
    headers = {"Emg-Signals": json.dumps({**_window(plan), "signals": _described(preview)})}
    return Encoded(b"".join(arrays), headers)


_ENCODERS: Final[dict[Form, Callable[[SignalPlan, SignalPreview], Encoded]]] = {
    "json": _as_json,
    "arrow": _as_arrow,
    "float32": _as_float32,
}


def _window(plan: SignalPlan) -> dict[str, object]:
    return {
        "recording_sha256": plan.recording_sha256,
        "sampling_rate_hz": plan.sampling_rate_hz,
        "amplitude_unit": plan.amplitude_unit,
        "first_sample": plan.first,
        "end_sample": plan.end,
    }


def _described(preview: SignalPreview) -> list[dict[str, object]]:
    return [
        {"channel": signal.channel, "kind": signal.kind.value, "points": len(signal.samples), "missing": signal.missing}
        for signal in preview.signals
    ]


def _decimal(values: NDArray[np.float32]) -> list[float | None]:
    """The values as the decimal numbers of 7 digits that they are nearest to, for a float's own 17 would double the answer's size.

    A whole number divided by a power of ten that is exact yields the float nearest to the decimal, which is written with those digits.
    Below 1e-16 there are fewer digits than 7. What is no number is None.
    """
    exact = values.astype(np.float64)
    finite = np.isfinite(exact)
    exact[~finite] = 0.0
    magnitudes = np.floor(np.log10(np.where(exact == 0, 1.0, np.abs(exact))))
    shift = np.clip(_DIGITS - 1 - magnitudes, 0, _SHIFT_MAX)
    scale = np.power(10.0, shift)
    rounded: list[float | None] = (np.rint(exact * scale) / scale).tolist()
    for place in np.flatnonzero(~finite):
        rounded[place] = None
    return rounded
