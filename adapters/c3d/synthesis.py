"""Writes realistic recordings: what a patient's muscles give during a game of GHOSTLY, for demonstrations and tests.

The same seed and choices give the same bytes (with the same versions of numpy and ezc3d). No real person's data is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import ezc3d
import numpy as np

from domain.emg.filters import moving_average
from domain.emg.recording import Signal

_RECORDED_AT: Final = datetime(2025, 3, 10, 11, 50, 16, 578_000)  # noqa: DTZ001 - recordings name no time zone
_GHOSTLY_RATE_HZ, _GHOSTLY_SAMPLES_PER_FRAME = 990.0, 30
_FRAMES_MAX: Final = 0xFFFF  # More do not fit into a C3D frame count, and ezc3d does not read them back.
_PER_VOLT: Final = {None: 1.0, "V": 1.0, "mV": 1e3, "uV": 1e6, "µV": 1e6}

# Volts: RMS at full effort and at rest, and amplitudes of what disturbs; between the quietest and the loudest known recordings.
_EFFORT_V, _REST_V, _MAINS_V, _DRIFT_V, _JERK_V = 3e-4, 9e-6, 2e-6, 6e-6, 2e-5
_MAINS_HZ: Final = 50.0


@dataclass(frozen=True, slots=True)
class PlannedContraction:
    """A contraction as it was made: ramps included. `effort` is relative to the patient's maximum."""

    start_s: float
    end_s: float
    effort: float


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What was written, for comparison with what an analysis finds; `contractions` in the order of channels."""

    path: Path
    samples: int
    contractions: dict[str, tuple[PlannedContraction, ...]]


def ghostly_file_name(recorded_at: datetime) -> str:
    """The name GHOSTLY gives to a recording, with milliseconds in four digits: `Ghostly_Emg_20250310_11-50-16-0578.c3d`."""
    return f"Ghostly_Emg_{recorded_at:%Y%m%d_%H-%M-%S}-{recorded_at.microsecond // 1000:04d}.c3d"


def synthesise(
    path: Path,
    *,
    seed: int,
    duration_s: float = 75.0,
    channels: Sequence[str] = ("CH1", "CH2"),
    sampling_rate_hz: float = _GHOSTLY_RATE_HZ,
    ghostly: bool = True,
    unit: str | None = None,
    recorded_at: datetime = _RECORDED_AT,
) -> Synthesis:
    """Writes a recording to `path` (which must end in .c3d), replacing what is there.

    With `ghostly` each channel N is stored as "N Raw" and "N activated", with the facts of a game; without, as N alone, like other systems.
    `unit` (V, mV, uV, µV) is declared and scales the amplitudes; None declares none and means volts. The duration is rounded to whole
    frames. ezc3d writes floats only. Raises OSError if the file cannot be written.
    """
    # Where GHOSTLY sets no example, a power of two: it divides every rate exactly.
    samples_per_frame = _GHOSTLY_SAMPLES_PER_FRAME if sampling_rate_hz == _GHOSTLY_RATE_HZ else 32
    frames = max(1, round(duration_s * sampling_rate_hz / samples_per_frame))
    if frames > _FRAMES_MAX:
        raise ValueError(f"{duration_s:g} s at {sampling_rate_hz:g} Hz are {frames} frames; a C3D file counts up to {_FRAMES_MAX}")
    if path.suffix != ".c3d":
        raise ValueError(f"{path.name} does not end in .c3d, which ezc3d would append")
    rng = np.random.default_rng(seed)
    samples = frames * samples_per_frame
    contractions: dict[str, tuple[PlannedContraction, ...]] = {}
    raw: list[Signal] = []
    for name in channels:
        contractions[name] = exercise(rng, samples / sampling_rate_hz)
        raw.append(surface_emg(rng, contractions[name], samples, sampling_rate_hz) * _PER_VOLT[unit])
    if ghostly:
        labels = [f"{name} Raw" for name in channels] + [f"{name} activated" for name in channels]
        signals = np.stack(raw + [activity(x, sampling_rate_hz) for x in raw])
    else:
        labels, signals = list(channels), np.stack(raw)
    _write(
        path, signals, labels, sampling_rate_hz, samples_per_frame, unit, _ghostly_facts(rng, recorded_at, duration_s) if ghostly else {}
    )
    return Synthesis(path, samples, contractions)


def exercise(rng: np.random.Generator, duration_s: float) -> tuple[PlannedContraction, ...]:
    """The contractions of a rehabilitation exercise: mostly short ones on command, now and then a hold, with rests between."""
    planned: list[PlannedContraction] = []
    at_s = rng.uniform(1.0, 2.5)
    while True:
        hold = rng.random() < 0.25
        length_s = rng.uniform(2.2, 4.5) if hold else rng.uniform(0.7, 1.8)
        if at_s + length_s > duration_s - 0.5:
            return tuple(planned)
        planned.append(PlannedContraction(float(at_s), float(at_s + length_s), float(rng.uniform(0.55, 1.0))))
        at_s += length_s + rng.uniform(1.5, 4.0)


def surface_emg(rng: np.random.Generator, contractions: Sequence[PlannedContraction], samples: int, sampling_rate_hz: float) -> Signal:
    """Raw surface EMG in volts, shape (samples,): interference pattern, noise of electrodes, mains, drift, and jerks of the cable.

    The pattern is noise of the spectrum that Shwedyk et al. found (IEEE Trans Biomed Eng 24(5):417-24, 1977). Towards the end the muscle
    tires: its spectrum moves down while its amplitude rises a little.
    """
    t = np.arange(samples) / sampling_rate_hz
    drive, jerks = np.zeros(samples), np.zeros(samples)
    for contraction in contractions:
        ramp_s = rng.uniform(0.12, 0.3)
        rise = np.clip((t - contraction.start_s) / ramp_s, 0, 1)
        fall = np.clip((contraction.end_s - t) / ramp_s, 0, 1)
        drive = np.maximum(drive, contraction.effort * np.sin(np.pi / 2 * np.minimum(rise, fall)) ** 2)
        jerks += rng.normal(0, _JERK_V) * np.exp(-(((t - contraction.start_s - ramp_s) / 0.08) ** 2))
    tremor = 1 + 0.15 * _coloured(rng, samples, sampling_rate_hz, low_hz=0.5, high_hz=6)
    tired = t / max(t[-1], 1.0)
    fresh_pattern = _coloured(rng, samples, sampling_rate_hz, low_hz=70, high_hz=140)
    tired_pattern = _coloured(rng, samples, sampling_rate_hz, low_hz=50, high_hz=95)
    pattern = np.sqrt(1 - tired) * fresh_pattern + np.sqrt(tired) * tired_pattern
    signal: Signal = (
        _EFFORT_V * (1 + 0.15 * tired) * drive * np.clip(tremor, 0.3, None) * pattern
        + _REST_V * _coloured(rng, samples, sampling_rate_hz, low_hz=8, high_hz=250)
        + _MAINS_V * np.sin(2 * np.pi * _MAINS_HZ * t + rng.uniform(0, 2 * np.pi))
        + _DRIFT_V * _coloured(rng, samples, sampling_rate_hz, low_hz=0.05, high_hz=1)
        + jerks
    )
    return signal


def activity(raw: Signal, sampling_rate_hz: float) -> Signal:
    """The activity signal that the recorder derives on the fly: a quarter of the recent mean |raw| where that stands out, else zero."""
    width = max(1, int(0.2 * sampling_rate_hz))
    centred = moving_average(np.abs(raw), width)
    recent = np.concatenate([np.zeros(width // 2), centred])[: len(raw)]
    return np.where(recent > 4 * np.percentile(recent, 20), 0.25 * recent, 0.0)


def _coloured(rng: np.random.Generator, samples: int, sampling_rate_hz: float, *, low_hz: float, high_hz: float) -> Signal:
    """Noise with RMS 1 and Shwedyk's spectrum, high_hz⁴ f² / ((f² + low_hz²) (f² + high_hz²)²), above 1 / duration and below 450 Hz."""
    f = np.fft.rfftfreq(samples, 1 / sampling_rate_hz)
    power = f**2 / ((f**2 + low_hz**2) * (f**2 + high_hz**2) ** 2)
    power[f > 450] = 0
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * np.sqrt(power), samples)
    level = noise.std()
    return np.asarray(noise / level if level > 0 else noise, dtype=np.float64)


def _ghostly_facts(rng: np.random.Generator, recorded_at: datetime, duration_s: float) -> dict[str, dict[str, object]]:
    now = recorded_at
    return {
        "SUBJECTS": {"MARKER_SET": "Using ETRO extended marker set", "PLAYER_NAME": "Synthetic", "GAME_SCORE": float(rng.integers(5, 40))},
        "INFO": {
            "SYSTEM": "OpenFeasyo",
            "EVENT": "gameplay",
            "GAME_NAME": "Ghostly",
            "GAME_LEVEL_NAME": " ---",
            "GAME_LEVEL": int(rng.integers(1, 80)),
            "OPTIMIZED": 0,
            "VERSION": "OpenFeasyo.Android",
            "DURATION": int(duration_s),
            "THERAPIST_ID": "---",
            "GROUP_ID": "N/A",
            "TIME": [str(field) for field in (now.year, now.month, now.day, now.hour, now.minute)],
        },
    }


def _write(  # noqa: PLR0917 - private, one call
    path: Path,
    signals: Signal,
    labels: list[str],
    sampling_rate_hz: float,
    samples_per_frame: int,
    unit: str | None,
    facts: dict[str, dict[str, object]],
) -> None:
    """One point goes with the signals, as in GHOSTLY's files: of a file without points ezc3d would write no frame at all."""
    frames = signals.shape[1] // samples_per_frame
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [sampling_rate_hz / samples_per_frame]
    file["parameters"]["POINT"]["LABELS"]["value"] = ["PlayerPosition"]
    file["parameters"]["ANALOG"]["RATE"]["value"] = [sampling_rate_hz]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = labels
    if unit is not None:
        file["parameters"]["ANALOG"]["UNITS"]["value"] = [unit] * len(labels)
    for group, parameters in facts.items():
        for name, value in parameters.items():
            file.add_parameter(group, name, value)
    position = np.ones((4, 1, frames))
    position[:3, 0] = np.array([[350.0], [270.0], [-3.0]])
    file["data"]["points"] = position
    file["data"]["analogs"] = signals[np.newaxis]
    path.unlink(missing_ok=True)
    file.write(str(path))
    if not path.is_file():
        raise OSError(f"{path} could not be written")  # ezc3d does not say so itself.
