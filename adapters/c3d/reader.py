"""Reads C3D recordings, of the GHOSTLY game and of other systems, through ezc3d."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from adapters.c3d.channels import PlannedChannel, choose_channels
from adapters.c3d.facts import amplitude_unit, game_facts, recorded_at, subject_facts, system
from adapters.c3d.header import C3dHeader, read_header
from domain.analytics import AnalysisParameters, RecordingFacts
from domain.emg.recording import Channel, Recording, Signal
from domain.errors import InvalidRecording
from domain.ports import RecordingReader

_REASON_MAX: Final = 160
_TWO_TO_16: Final = 1 << 16

# What ezc3d raises for files it does not understand: C++ exceptions by their Python names, and numpy's on shapes that do not fit.
_EZC3D_ERRORS: Final = (
    RuntimeError, ValueError, IndexError, KeyError, TypeError, OSError, MemoryError, OverflowError, SystemError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class C3dRecordingReader(RecordingReader):
    """Reads C3D files of at most `size_bytes_max`; ezc3d needs about seven times the memory of the file."""

    size_bytes_max: int = 512 * 1024 * 1024

    def digest(self, path: Path, *, file_name: str | None = None) -> str:
        """The SHA-256 of the file's bytes, as 64 hex digits. Raises InvalidRecording if there is no such file. Blocks."""
        name = file_name or _shown_name(path)
        try:
            self._checked_status(path, name)
            return _sha256(path)
        except OSError as error:
            raise _unreadable(name, error) from error

    def read(self, path: Path, parameters: AnalysisParameters, *, file_name: str | None = None) -> Recording:
        """The recording in a file: facts, and the EMG channels chosen by `parameters`, sorted by name.

        Raises InvalidRecording naming the recording and the reason, also if the file changes meanwhile. Blocks.
        """
        name = file_name or _shown_name(path)
        try:
            before = self._checked_status(path, name)
            header = read_header(path, name, before.st_size)
            plan = choose_channels(name, header, parameters.channels)
            sha256 = _sha256(path)
            signals = _signals(path, name, header)
            after = path.stat()
        except OSError as error:
            raise _unreadable(name, error) from error
        if _identity(after) != _identity(before):
            raise InvalidRecording(name, "the file changed while it was being read; try again when it is complete")
        channels = [_channel(planned, signals, header) for planned in plan]
        return Recording(
            facts=RecordingFacts(
                file_name=name,
                sha256=sha256,
                size_bytes=before.st_size,
                sampling_rate_hz=header.sampling_rate_hz,
                samples=header.samples,
                duration_s=header.samples / header.sampling_rate_hz,
                recorded_at=recorded_at(name, header),
                amplitude_unit=amplitude_unit(header, [planned.raw for planned in plan]),
                system=system(header),
                game=game_facts(header),
                subject=subject_facts(header),
            ),
            channels=tuple(sorted(channels, key=lambda channel: channel.name)),
        )

    def _checked_status(self, path: Path, name: str) -> os.stat_result:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise InvalidRecording(name, f"this is {kind}; a C3D file is needed")
        if status.st_size > self.size_bytes_max:
            bound = f"at most {self.size_bytes_max} are read (size_bytes_max)"
            raise InvalidRecording(name, f"the file has {status.st_size} bytes; {bound}")
        return status


def _signals(path: Path, name: str, header: C3dHeader) -> Signal:
    """All analog signals, shape (channels, samples), as ezc3d scales them.

    Of a recording with the highest frame count ezc3d reads to the end of the file, so the filling of the last block is cut off.
    """
    import ezc3d  # noqa: PLC0415 - takes a quarter of a second, and only worker processes read

    try:
        signals: Signal = ezc3d.c3d(str(path))["data"]["analogs"][0]
    except _EZC3D_ERRORS as error:
        reason = " ".join(str(error).split())[:_REASON_MAX] or type(error).__name__
        raise InvalidRecording(name, f"ezc3d cannot read the file ({reason})") from error
    if signals.shape[0] != header.channels or signals.shape[1] < header.samples:
        promised, found = (header.channels, header.samples), signals.shape
        raise InvalidRecording(name, f"the file promises (channels, samples) {promised}, but ezc3d reads {found}")
    return signals[:, : header.samples]


def _channel(planned: PlannedChannel, signals: Signal, header: C3dHeader) -> Channel:
    activated = None if planned.activated is None else _scaled(signals[planned.activated], planned.activated, header)
    return Channel(name=planned.name, raw=_scaled(signals[planned.raw], planned.raw, header), activated=activated)


def _scaled(values: Signal, place: int, header: C3dHeader) -> Signal:
    """A copy of one signal, in its unit: (stored value - OFFSET) * SCALE * GEN_SCALE.

    ezc3d computes that with |OFFSET|, and takes 16-bit integers to be signed even where ANALOG:FORMAT says UNSIGNED. Both are put right
    here; for floats and integers without a negative offset nothing is changed.
    """
    values = np.array(values, dtype=np.float64, order="C")
    offset = int(header.numbers("ANALOG", "OFFSET")[place])
    scale = header.numbers("ANALOG", "SCALE")[place] * next(iter(header.numbers("ANALOG", "GEN_SCALE")), 1.0)
    unsigned = "UNSIGNED" in (text.upper() for text in header.texts("ANALOG", "FORMAT"))
    if unsigned and header.integers and scale:
        values[np.rint(values / scale + abs(offset)) < 0] += _TWO_TO_16 * scale
    true_offset = offset % _TWO_TO_16 if unsigned else offset
    if true_offset != abs(offset):
        values += (abs(offset) - true_offset) * scale
    return values


def _shown_name(path: Path) -> str:
    """The file's name for people and documents: names that are no UTF-8 on disk cannot be written into JSON."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _unreadable(name: str, error: OSError) -> InvalidRecording:
    return InvalidRecording(name, f"the file cannot be read: {error.strerror or type(error).__name__}")
