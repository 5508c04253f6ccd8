"""Writes C3D files byte by byte: other systems' formats, which ezc3d does not write, and damaged ones."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

INTEL, DEC, MIPS = 84, 85, 86
CHAR, BYTE, INTEGER, FLOAT = -1, 1, 2, 4
BLOCK = 512


@dataclass
class RawC3d:
    """A C3D file without points. `samples` has shape (channels, samples): what is stored, before any scaling.

    `parameters` replaces or adds parameters by "GROUP:NAME"; None leaves one out. A list of str, int or float has its natural type;
    a (type, dimensions, bytes) triple is written as it is.
    """

    samples: NDArray[np.float64]
    labels: Sequence[str] = ()
    rate_hz: float = 1000.0
    processor: int = INTEL
    integers: bool = False
    parameters: dict[str, object] = field(default_factory=dict)
    encoding: str = "utf-8"
    descriptions: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.content())
        return path

    def content(self) -> bytes:
        channels, samples = self.samples.shape
        labels = list(self.labels) or [f"EMG{i + 1}" for i in range(channels)]
        parameters: dict[str, object] = {
            "POINT:USED": [0],
            "POINT:FRAMES": [samples],
            "POINT:RATE": [float(self.rate_hz)],
            "POINT:SCALE": [1.0 if self.integers else -1.0],
            "POINT:DATA_START": [0],
            "ANALOG:USED": [channels],
            "ANALOG:RATE": [float(self.rate_hz)],
            "ANALOG:GEN_SCALE": [1.0],
            **continued("ANALOG:LABELS", labels),
            **continued("ANALOG:SCALE", [1.0] * channels),
            **continued("ANALOG:OFFSET", [0] * channels),
            **self.parameters,
        }
        groups = list(dict.fromkeys(name.split(":")[0] for name in parameters))
        records = b"".join(self._record(-i - 1, group, self._uint(3) + b"\0") for i, group in enumerate(groups))
        for full_name, value in parameters.items():
            if value is not None:
                group, name = full_name.split(":")
                body = self._body(value, self.descriptions.get(full_name, ""))
                records += self._record(groups.index(group) + 1, name, self._uint(len(body) + 2) + body)
        section = bytes([1, 0x50, 0, self.processor]) + records + b"\0\0"
        blocks = -(-len(section) // BLOCK)
        header = bytes([2, 0x50]) + b"".join(self._uint(word) for word in (0, channels, 1, min(samples, 0xFFFF), 0))
        header += self._floats([1.0 if self.integers else -1.0]) + self._uint(2 + blocks) + self._uint(1) + self._floats([self.rate_hz])
        stored = self.samples.T.ravel()
        data = self._ints(stored) if self.integers else self._floats(stored)
        return padded(header) + padded(section) + padded(data)

    def _record(self, identity: int, name: str, rest: bytes) -> bytes:
        return bytes([len(name)]) + struct.pack("b", identity) + name.encode() + rest

    def _body(self, value: object, description: str) -> bytes:
        kind: int
        dimensions: list[int]
        data: bytes
        if isinstance(value, tuple):
            kind, dimensions, data = value
        else:
            assert isinstance(value, list)
            kind, dimensions, data = self._encoded(value)
        return struct.pack("b", kind) + bytes([len(dimensions), *dimensions]) + data + bytes([len(description)]) + description.encode()

    def _encoded(self, values: list[object]) -> tuple[int, list[int], bytes]:
        if values and isinstance(values[0], str):
            texts = [str(value).encode(self.encoding) for value in values]
            width = max(map(len, texts))
            return CHAR, [width, len(texts)], b"".join(text.ljust(width) for text in texts)
        dimensions = [] if len(values) == 1 else [len(values)]
        if values and isinstance(values[0], float):
            return FLOAT, dimensions, self._floats(values)
        return INTEGER, dimensions, self._ints(values)

    def _uint(self, value: int) -> bytes:
        return struct.pack(">H" if self.processor == MIPS else "<H", value)

    def _ints(self, values: object) -> bytes:
        order = ">" if self.processor == MIPS else "<"
        numbers: NDArray[np.uint16] = np.asarray(values).astype(np.int64).astype(f"{order}u2")
        return numbers.tobytes()

    def _floats(self, values: object) -> bytes:
        floats = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if self.processor == DEC:
            words = (floats * 4).astype("<f4").view("<u2").reshape(-1, 2)
            return words[:, ::-1].tobytes()
        return floats.astype(">f4" if self.processor == MIPS else "<f4").tobytes()


def continued(name: str, values: list[str] | list[float] | list[int]) -> dict[str, object]:
    """NAME, NAME2, NAME3 …: a dimension has one byte, so that each takes 255."""
    parts = [values[i : i + 255] for i in range(0, len(values), 255)]
    return {f"{name}{i + 1 if i else ''}": part for i, part in enumerate(parts)}


def padded(content: bytes) -> bytes:
    return content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0")
