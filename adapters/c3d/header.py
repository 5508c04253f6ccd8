"""Reads header and parameters of a C3D file without ezc3d, and refuses what ezc3d cannot be trusted with.

ezc3d believes what a file says. Of a damaged or unusual one it may read beyond its arrays, which ends the process or, worse, yields wrong
values; ask for gigabytes; or return the part of a truncated recording as if it were whole. So every claim it will rely on is checked here
first, against the size of the file. The format: https://www.c3d.org (512-byte blocks: one of header, some of parameters, then data).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from domain.errors import InvalidRecording

Value = str | int | float
Parameters = Mapping[str, Mapping[str, tuple[Value, ...]]]
"""Values by group and parameter name, in the order of the file (first dimension fastest); texts are stripped."""

_BLOCK: Final = 512
_MAGIC: Final = 0x50
_INTEL, _DEC, _MIPS = 84, 85, 86
_CHAR, _BYTE, _INTEGER, _FLOAT = -1, 1, 2, 4
_FRAMES_MAX: Final = (
    0xFFFF  # A frame count has 16 bits; ezc3d writes this number for longer recordings too, and cannot read them back whole.
)
_DESCRIPTION_MAX: Final = 127  # ezc3d takes a longer one for a negative length and asks for 4 GB.

# ezc3d takes the first value of these without looking whether there is one.
_FIRST_VALUE_TAKEN: Final = {
    "POINT": ("USED", "FRAMES", "RATE", "SCALE"),
    "ANALOG": ("USED", "RATE", "GEN_SCALE"),
    "ROTATION": ("USED", "DATA_START", "RATIO", "RATE"),
}


@dataclass(frozen=True, slots=True)
class C3dHeader:
    """What a C3D file says of its analog signals; `samples` are those of one channel. `integers`: stored as 16 bits, not as floats."""

    channels: int
    samples: int
    sampling_rate_hz: float
    integers: bool
    parameters: Parameters

    def texts(self, group: str, parameter: str) -> list[str]:
        """The texts of a parameter and of its continuations (LABELS, LABELS2 …), which hold what goes beyond 255."""
        return [str(value) for value in _continued(self.parameters, group, parameter)]

    def numbers(self, group: str, parameter: str) -> list[float]:
        """The numbers of a parameter and of its continuations."""
        return [value for value in _continued(self.parameters, group, parameter) if not isinstance(value, str)]


def read_header(path: Path, file_name: str, size_bytes: int) -> C3dHeader:
    """The checked header of a C3D file of `size_bytes`, which errors call `file_name`.

    Raises InvalidRecording if it is none, is damaged, or is beyond ezc3d.
    """
    if size_bytes == 0:
        raise InvalidRecording(file_name, "the file is empty")
    with path.open("rb") as file:
        header = file.read(_BLOCK)
        if len(header) < 2 or header[0] == 0 or header[1] != _MAGIC:
            raise InvalidRecording(file_name, "this is no C3D file (a C3D file has 0x50 as its second byte)")
        start = (header[0] - 1) * _BLOCK
        file.seek(start)
        prologue = file.read(4)
        if len(header) < _BLOCK or start < _BLOCK or len(prologue) < 4:
            raise InvalidRecording(file_name, f"the file is truncated within its header: it has {size_bytes} bytes")
        _check_processor(file_name, prologue[3])
        numbers = _Numbers(dec=prologue[3] == _DEC)
        end = (numbers.unsigned(header, 16) - 1) * _BLOCK
        if not start < end <= size_bytes:
            raise InvalidRecording(file_name, f"the file is truncated or damaged: data begin at byte {end} of {size_bytes}")
        section = file.read(end - start - len(prologue))
    parameters = _parameters(file_name, section, numbers)
    return _checked(file_name, header, numbers, parameters, data_bytes=size_bytes - end)


def _check_processor(file_name: str, processor: int) -> None:
    if processor == _MIPS:
        raise InvalidRecording(file_name, "the file is in the number format of MIPS processors, which ezc3d does not read")
    if processor not in (_INTEL, _DEC):
        raise InvalidRecording(file_name, f"the file names an unknown processor type: {processor} instead of 84, 85 or 86")


def _checked(file_name: str, header: bytes, numbers: _Numbers, parameters: Parameters, *, data_bytes: int) -> C3dHeader:
    """The header as ezc3d will understand it: a parameter comes before the header's own field wherever both speak."""
    for group, names in _FIRST_VALUE_TAKEN.items():
        for name in names:
            if parameters.get(group, {}).get(name) == ():
                raise InvalidRecording(file_name, f"its parameter {group}:{name} has no value")
    channels = int(_number(parameters, "ANALOG", "USED", default=0))
    if channels <= 0:
        raise InvalidRecording(file_name, "the file has no analog channels (ANALOG:USED)")
    rate_hz = _number(parameters, "ANALOG", "RATE", default=0)
    if not 0 < rate_hz < math.inf:
        raise InvalidRecording(file_name, f"the file does not say at what rate it was sampled (ANALOG:RATE is {rate_hz:g})")
    for name in ("SCALE", "OFFSET"):
        count = len(_continued(parameters, "ANALOG", name))
        if count < channels:
            raise InvalidRecording(file_name, f"its parameter ANALOG:{name} has {count} values for {channels} channels")

    integers = numbers.real(header, 12) >= 0
    points = int(_number(parameters, "POINT", "USED", default=numbers.unsigned(header, 2)))
    # The counts have 16 bits without sign, but are stored as integers with one.
    frames = int(_number(parameters, "POINT", "FRAMES", default=0)) & _FRAMES_MAX
    frames = frames or numbers.unsigned(header, 8) - numbers.unsigned(header, 6) + 1
    per_frame = _samples_per_frame(file_name, rate_hz, _number(parameters, "POINT", "RATE", default=0), numbers.unsigned(header, 18))
    word_bytes = 2 if integers else 4
    frame_bytes = word_bytes * (4 * max(0, points) + channels * per_frame)
    if frames <= 0 or per_frame <= 0:
        raise InvalidRecording(file_name, "the file has analog channels but no samples")
    if frames * frame_bytes > data_bytes:
        raise InvalidRecording(
            file_name,
            f"the file is truncated: its header promises {frames} frames of {frame_bytes} bytes, but {data_bytes} bytes of data follow",
        )
    rotations = _number(parameters, "ROTATION", "USED", default=0)
    if rotations * 64 * frames > data_bytes:
        raise InvalidRecording(file_name, f"the file is truncated: it promises {rotations:g} rotations in {frames} frames")
    if frames == _FRAMES_MAX and data_bytes - frames * frame_bytes >= max(frame_bytes, _BLOCK) and not rotations:
        raise InvalidRecording(file_name, f"the recording is longer than the {_FRAMES_MAX} frames that a C3D file can count")
    return C3dHeader(channels=channels, samples=frames * per_frame, sampling_rate_hz=rate_hz, integers=integers, parameters=parameters)


def _samples_per_frame(file_name: str, rate_hz: float, frame_rate_hz: float, of_header: int) -> int:
    """ezc3d divides the rates and cuts off what is behind the point, so that 29.99 would become 29 and shift everything."""
    if not frame_rate_hz >= 1:
        return of_header
    ratio = rate_hz / frame_rate_hz
    if abs(ratio - int(ratio)) > 1e-3 * ratio or ratio < 1:
        raise InvalidRecording(file_name, f"its analog rate {rate_hz:g} Hz is no multiple of its frame rate {frame_rate_hz:g} Hz")
    return int(ratio)


def _parameters(file_name: str, section: bytes, numbers: _Numbers) -> Parameters:
    """All parameters of a section (without its first four bytes); those of a group without a name are left out."""
    names: dict[int, str] = {}
    found: dict[int, dict[str, tuple[Value, ...]]] = {}
    try:
        for identity, name, content in _records(section, numbers):
            if identity < 0:
                _check_description(name, content)
                names[-identity] = name
            else:
                found.setdefault(identity, {})[name] = _values(name, content, numbers)
    except (struct.error, IndexError, ValueError) as damage:
        raise InvalidRecording(file_name, f"its parameters are damaged: {damage}") from damage
    return {group: found.get(identity, {}) for identity, group in names.items()}


def _records(section: bytes, numbers: _Numbers) -> Iterator[tuple[int, str, bytes]]:
    """The groups (negative identity) and parameters (their group's identity) of a section, each with name and content."""
    at = 0
    while section[at] != 0:
        length = abs(struct.unpack_from("b", section, at)[0])  # Negative: locked against editing.
        identity = struct.unpack_from("b", section, at + 1)[0]
        name = _text(section[at + 2 : at + 2 + length])
        begin = at + 2 + length
        size = numbers.unsigned(section, begin)
        if identity == 0 or (size and size < 3) or begin + size > len(section):
            raise ValueError(f"{name[:40]!r} is out of bounds")
        yield identity, name, section[begin + 2 : begin + size if size else None]
        if size == 0:
            return
        at = begin + size


def _values(name: str, content: bytes, numbers: _Numbers) -> tuple[Value, ...]:
    kind, rank = struct.unpack_from("bb", content)
    if kind not in (_CHAR, _BYTE, _INTEGER, _FLOAT):
        raise ValueError(f"{name[:40]!r} has the unknown type {kind}")
    if rank < 0 or (rank == 0 and kind == _CHAR):
        raise ValueError(f"{name[:40]!r} has no dimension")
    dimensions = tuple(content[2 : 2 + rank])
    data = content[2 + rank :]
    size = math.prod(dimensions) * abs(kind)
    if len(dimensions) != rank or size >= len(data):
        raise ValueError(f"{name[:40]!r} promises more values than there are")
    _check_description(name, data[size:])
    if kind == _CHAR:
        width = dimensions[0]
        return tuple(_text(data[i : i + width]) for i in range(0, size, width)) if size else ()
    if kind == _FLOAT:
        return tuple(numbers.real(data, i) for i in range(0, size, 4))
    return struct.unpack_from(f"<{size // kind}{'b' if kind == _BYTE else 'h'}", data)


def _check_description(name: str, rest: bytes) -> None:
    """A record ends with a description, and ezc3d goes astray where it does not end there."""
    if rest[0] > _DESCRIPTION_MAX:
        raise ValueError(f"{name[:40]!r} has a description of {rest[0]} characters, which is more than {_DESCRIPTION_MAX}")
    if len(rest) != 1 + rest[0]:
        raise ValueError(f"{name[:40]!r} does not end where it says")


def _continued(parameters: Parameters, group: str, name: str) -> list[Value]:
    values: list[Value] = []
    key, i = name, 1
    while (part := parameters.get(group, {}).get(key)) is not None:
        values.extend(part)
        i += 1
        key = f"{name}{i}"
    return values


def _number(parameters: Parameters, group: str, name: str, *, default: float) -> float:
    value = next(iter(parameters.get(group, {}).get(name, ())), default)
    return default if isinstance(value, str) else value


def _text(raw: bytes) -> str:
    """ASCII by the standard; in practice UTF-8 or what Windows wrote. Texts end at NUL and are filled up with spaces."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip()


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Numbers as Intel and DEC processors store them; they differ in floats only."""

    dec: bool

    def unsigned(self, source: bytes, offset: int) -> int:
        return int(struct.unpack_from("<H", source, offset)[0])

    def real(self, source: bytes, offset: int) -> float:
        if not self.dec:
            return float(struct.unpack_from("<f", source, offset)[0])
        # DEC F floating: the two words swapped, and an exponent that is greater by 2, here as for ezc3d.
        low, high = struct.unpack_from("<HH", source, offset)
        return float(struct.unpack("<f", struct.pack("<HH", high, low))[0]) / 4.0
