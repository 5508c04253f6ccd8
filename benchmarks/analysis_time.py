"""How long the analysis of a recording takes beside ezc3d's reading of the same file.

    python benchmarks/analysis_time.py [--repetitions N] [--json] [FILE ...]

Without files, synthetic recordings are made in a temporary directory. Readings and analyses take turns, so that whatever else the machine
does weighs on both; the figures are medians. The breakdown times each step of the analysis on its own, over all channels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ezc3d

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.c3d.reader import C3dRecordingReader
from adapters.c3d.synthesis import synthesise
from domain.analytics import AnalysisParameters
from domain.emg.analysis import analyse
from domain.emg.contractions import activity_runs
from domain.emg.envelope import envelope_as_analysed, estimated_mvc
from domain.emg.recording import Channel, Recording
from domain.emg.spectrum import power_spectra
from domain.emg.windows import mean_absolute_values, overlapping_windows, root_mean_squares

PARAMETERS = AnalysisParameters()
SYNTHETIC_DURATIONS_S = (20.0, 75.0, 300.0)


def measured(path: Path, repetitions: int) -> dict[str, Any]:
    """Medians in ms for one file."""
    recording = C3dRecordingReader().read(path, PARAMETERS)
    tasks: dict[str, Callable[[], object]] = {
        "ezc3d": lambda: ezc3d.c3d(str(path)),
        "reader": lambda: C3dRecordingReader().read(path, PARAMETERS),
        "analysis": lambda: analyse(recording, PARAMETERS, processed_at=datetime.now(UTC)),
        **{f"step: {name}": step for name, step in steps(recording).items()},
    }
    times_ms: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repetitions):
        for name, task in tasks.items():
            begin = time.perf_counter()
            task()
            times_ms[name].append((time.perf_counter() - begin) * 1000)
    medians_ms = {name: statistics.median(values) for name, values in times_ms.items()}
    return {
        "file": path.name,
        "duration_s": recording.facts.duration_s,
        "channels": len(recording.channels),
        "ezc3d_ms": medians_ms["ezc3d"],
        "reader_ms": medians_ms["reader"],
        "analysis_ms": medians_ms["analysis"],
        "ratio": medians_ms["analysis"] / medians_ms["ezc3d"],
        "steps_ms": {name.removeprefix("step: "): value for name, value in medians_ms.items() if name.startswith("step: ")},
    }


def steps(recording: Recording) -> dict[str, Callable[[], object]]:
    """The parts of the analysis that take its time."""
    fs = recording.facts.sampling_rate_hz
    length = int(PARAMETERS.window_length_s * fs)

    def envelope(channel: Channel) -> Any:
        return envelope_as_analysed(channel.raw, fs, PARAMETERS)

    envelopes = {channel.name: envelope(channel) for channel in recording.channels}
    windows = {
        channel.name: overlapping_windows(channel.raw, length, int(length * PARAMETERS.window_step_fraction))
        for channel in recording.channels
    }

    def spectra(samples: Any) -> Any:
        return power_spectra(
            samples, fs, segment_samples=PARAMETERS.spectrum_segment_samples, overlap_samples=PARAMETERS.spectrum_overlap_samples
        )

    def runs(channel: Channel) -> object:
        return activity_runs(
            envelopes[channel.name] if channel.activated is None else channel.activated,
            onset_fraction=PARAMETERS.onset_fraction_activated,
            smoothing_samples=PARAMETERS.onset_smoothing_samples,
            length_samples_min=int(PARAMETERS.contraction_length_s_min * fs),
            gap_samples_max=int(PARAMETERS.contraction_gap_s_max * fs),
            length_samples_max=int(PARAMETERS.contraction_length_s_max * fs),
        )

    def each(step: Callable[[Channel], object]) -> Callable[[], object]:
        return lambda: [step(channel) for channel in recording.channels]

    return {
        "envelope": each(envelope),
        "spectra of windows": each(lambda channel: spectra(windows[channel.name])),
        "spectrum of the whole": each(lambda channel: spectra(channel.raw[None])),
        "amplitudes of windows": each(
            lambda channel: (root_mean_squares(windows[channel.name]), mean_absolute_values(windows[channel.name]))
        ),
        "estimate of MVC": each(lambda channel: estimated_mvc(envelopes[channel.name], PARAMETERS.mvc_estimate_percentile)),
        "contractions": each(runs),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("files", nargs="*", type=Path, help="C3D recordings; by default synthetic ones are made")
    parser.add_argument("--repetitions", type=int, default=31)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        files = arguments.files or [
            synthesise(Path(directory) / f"synthetic_{duration_s:g}_s.c3d", seed=1, duration_s=duration_s).path
            for duration_s in SYNTHETIC_DURATIONS_S
        ]
        results = [measured(path, arguments.repetitions) for path in files]
    if arguments.json:
        print(json.dumps({"repetitions": arguments.repetitions, "recordings": results}, indent=2))
        return
    print(f"{'recording':45} {'s':>6} {'ezc3d ms':>9} {'reader ms':>9} {'analysis ms':>11} {'analysis / ezc3d':>16}")
    for result in results:
        print(
            f"{result['file'][:45]:45} {result['duration_s']:6.1f} {result['ezc3d_ms']:9.2f} {result['reader_ms']:9.2f}"
            f" {result['analysis_ms']:11.2f} {result['ratio']:16.2f}"
        )
        for name, value in result["steps_ms"].items():
            print(f"    {name:30} {value:7.2f} ms")


if __name__ == "__main__":
    main()
