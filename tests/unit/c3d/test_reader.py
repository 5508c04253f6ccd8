"""The reader takes recordings of any system, and refuses what is none with the file's name and a reason."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import ezc3d
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adapters.c3d.reader
from adapters.c3d.channels import unique
from adapters.c3d.reader import C3dRecordingReader
from adapters.c3d.synthesis import synthesise
from domain.analytics import AnalysisParameters
from domain.emg.recording import Recording, Signal
from domain.errors import InvalidRecording
from domain.ports import RecordingReader
from tests.unit.c3d.raw_files import BYTE, CHAR, DEC, FLOAT, INTEGER, MIPS, RawC3d

_NOBODY = 65_534
SIGNALS = np.random.default_rng(0).normal(0, 1, (2, 600)).astype(np.float32).astype(np.float64)
COUNTS = np.round(SIGNALS * 5000)


def read(path: Path, *patterns: str, reader: C3dRecordingReader | None = None) -> Recording:
    return (reader or C3dRecordingReader()).read(path, AnalysisParameters(channels=patterns))


def names(recording: Recording) -> list[str]:
    return [channel.name for channel in recording.channels]


def labelled(*labels: str, **choices: Any) -> RawC3d:
    x = np.random.default_rng(1).normal(0, 1, (len(labels), 300)).astype(np.float32).astype(np.float64)
    return RawC3d(x, labels=labels, **choices)


@pytest.fixture(scope="module")
def ghostly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "Ghostly_Emg_20250310_11-50-16-0578.c3d"
    return synthesise(path, seed=1, duration_s=3.0).path


# What a recording says


def test_a_ghostly_recording_has_one_channel_of_raw_and_activated(ghostly: Path) -> None:
    recording = read(ghostly)
    stored = ezc3d.c3d(str(ghostly))["data"]["analogs"][0]
    assert names(recording) == ["CH1", "CH2"]
    for i, channel in enumerate(recording.channels):
        assert channel.activated is not None
        np.testing.assert_array_equal(channel.raw, stored[i])
        np.testing.assert_array_equal(channel.activated, stored[i + 2])
        assert channel.raw.dtype == np.float64
        assert channel.raw.flags.c_contiguous


def test_facts_come_from_the_bytes_and_the_parameters(ghostly: Path) -> None:
    facts = read(ghostly).facts
    content = ghostly.read_bytes()
    assert (facts.file_name, facts.size_bytes, facts.sha256) == (ghostly.name, len(content), hashlib.sha256(content).hexdigest())
    assert (facts.sampling_rate_hz, facts.samples, facts.duration_s) == (990.0, 2970, 3.0)
    assert (facts.system, facts.amplitude_unit) == ("OpenFeasyo", None)
    assert facts.recorded_at == datetime(2025, 3, 10, 11, 50, 16, 578_000)  # noqa: DTZ001 - recordings name no time zone


def test_what_may_identify_people_is_in_subject_and_nowhere_else(ghostly: Path) -> None:
    facts = read(ghostly).facts
    assert list(facts.game) == ["duration", "event", "game_level", "game_level_name", "game_name", "optimized", "version"]
    assert list(facts.subject) == ["game_score", "group_id", "marker_set", "player_name", "therapist_id"]
    assert (facts.game["duration"], facts.game["game_name"], facts.game["game_level_name"]) == (3, "Ghostly", "---")


def test_a_recording_goes_by_the_name_that_is_given_and_not_by_that_of_its_file(ghostly: Path, tmp_path: Path) -> None:
    stored = tmp_path / "Ghostly_Emg_20200101_01-01-01-0001.c3d"
    stored.write_bytes(ghostly.read_bytes())
    reader = C3dRecordingReader()
    assert reader.read(stored, AnalysisParameters(), file_name=ghostly.name).facts == read(ghostly).facts
    assert reader.digest(stored, file_name=ghostly.name) == reader.digest(ghostly)
    long = "a" * 300 + "_20250310_11-50-16-0578.c3d"  # No file system would take it.
    facts = reader.read(stored, AnalysisParameters(), file_name=long).facts
    assert (facts.file_name, facts.recorded_at) == (long, read(ghostly).facts.recorded_at)


def test_errors_call_a_recording_by_the_name_that_is_given(ghostly: Path, tmp_path: Path) -> None:
    reader, whole = C3dRecordingReader(), ghostly.read_bytes()
    small = C3dRecordingReader(size_bytes_max=5)
    damaged = {"empty": b"", "none": b"no recording", "header": whole[:600], "data": whole[:-512]}
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    for name in [*damaged, "missing", "."]:
        with pytest.raises(InvalidRecording, match=r"^P001\.c3d: "):
            reader.read(tmp_path / name, AnalysisParameters(), file_name="P001.c3d")
    with pytest.raises(InvalidRecording, match=r"^P001\.c3d: "):
        reader.read(ghostly, AnalysisParameters(channels=("nothing",)), file_name="P001.c3d")
    for one, path in ((reader, tmp_path / "missing"), (reader, tmp_path), (small, ghostly)):
        with pytest.raises(InvalidRecording, match=r"^P001\.c3d: "):
            one.digest(path, file_name="P001.c3d")


def test_the_digest_is_that_of_the_facts(ghostly: Path) -> None:
    assert C3dRecordingReader().digest(ghostly) == read(ghostly).facts.sha256


def test_the_reader_travels_to_worker_processes() -> None:
    reader = C3dRecordingReader(size_bytes_max=5)
    assert pickle.loads(pickle.dumps(reader)) == reader
    assert isinstance(reader, RecordingReader)


@pytest.mark.parametrize(
    ("file_name", "time", "expected"),
    [
        ("x_20231004_13-18-43-0464.c3d", ["2020", "1", "1", "1", "1"], datetime(2023, 10, 4, 13, 18, 43, 464_000)),  # noqa: DTZ001
        ("x_20231004_13-18-43-9999.C3D", [], datetime(2023, 10, 4, 13, 18, 43)),  # noqa: DTZ001
        ("x_20231304_13-18-43-0464.c3d", ["2023", "10", "4", "13", "18"], datetime(2023, 10, 4, 13, 18)),  # noqa: DTZ001
        ("plain.c3d", ["2023", "10", "4", "13", "18"], datetime(2023, 10, 4, 13, 18)),  # noqa: DTZ001
        ("plain.c3d", ["2023", "13", "4", "13", "18"], None),
        ("plain.c3d", ["2023", "10", "4"], None),
        ("plain.c3d", ["year", "10", "4", "13", "18"], None),
        ("plain.c3d", ["9" * 30, "10", "4", "13", "18"], None),
        ("plain.c3d", [], None),
    ],
)
def test_the_moment_of_recording_comes_from_the_file_name_then_from_the_parameters(
    tmp_path: Path, file_name: str, time: list[str], expected: datetime | None
) -> None:
    path = RawC3d(SIGNALS, parameters={"INFO:TIME": time or None}).write(tmp_path / file_name)
    assert read(path).facts.recorded_at == expected


def test_facts_are_finite_bounded_and_sorted(tmp_path: Path) -> None:
    facts = {
        "INFO:ZOOM": [1.5],
        "INFO:NOTHING": [float("nan")],
        "INFO:EMPTY": [""],
        "INFO:TABLE": [0] * 100,
        "INFO:ANGLES": [1.0, 2.5],
        "INFO:WORDS": ["one", "two"],
        "INFO:PATIENT_NAME": ["Somebody"],
        "SUBJECTS:HEIGHT": [180],
    }
    found = read(RawC3d(SIGNALS, parameters=facts).write(tmp_path / "a.c3d")).facts
    assert found.game == {"angles": (1.0, 2.5), "words": ("one", "two"), "zoom": 1.5}
    assert list(found.game) == sorted(found.game)
    assert found.subject == {"height": 180, "patient_name": "Somebody"}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"INFO:SYSTEM": ["A"], "MANUFACTURER:SOFTWARE": ["B"]}, "A"),
        ({"MANUFACTURER:COMPANY": ["C"], "MANUFACTURER:SOFTWARE": ["B"]}, "B"),
        ({"MANUFACTURER:COMPANY": ["C"]}, "C"),
        ({}, None),
    ],
)
def test_the_system_is_what_made_the_recording(tmp_path: Path, parameters: dict[str, object], expected: str | None) -> None:
    assert read(RawC3d(SIGNALS, parameters=parameters).write(tmp_path / "a.c3d")).facts.system == expected


@pytest.mark.parametrize(
    ("units", "expected"), [(["mV", "mV"], "mV"), (["mV", "V"], None), (["", ""], None), (["V", ""], None), (["V"], None)]
)
def test_the_unit_is_the_one_that_all_channels_share(tmp_path: Path, units: list[str], expected: str | None) -> None:
    path = RawC3d(SIGNALS, parameters={"ANALOG:UNITS": units if any(units) else None}).write(tmp_path / "a.c3d")
    assert read(path).facts.amplitude_unit == expected


# Other systems


def test_labels_that_say_emg_and_units_of_voltage_are_chosen_without_force_plates(tmp_path: Path) -> None:
    file = labelled(
        "Noraxon.Emg1", "biceps", "Fx1", "Force.Fz2", "gyro", "triceps", "EMG plate", "Mx_2",
        parameters={
            "ANALOG:UNITS": ["?", "µV", "V", "V", "deg/s", "mV", "V", "V"],
            "FORCE_PLATFORM:USED": [1],
            "FORCE_PLATFORM:CHANNEL": [7, 0, 0, 0, 0, 0],
        },
    )  # fmt: skip
    assert names(read(file.write(tmp_path / "a.c3d"))) == ["Noraxon.Emg1", "biceps", "triceps"]


def test_force_plates_that_are_not_used_exclude_nothing(tmp_path: Path) -> None:
    file = labelled("EMG1", "EMG2", parameters={"FORCE_PLATFORM:USED": [0], "FORCE_PLATFORM:CHANNEL": [1]})
    assert names(read(file.write(tmp_path / "a.c3d"))) == ["EMG1", "EMG2"]


def test_patterns_choose_labels_as_they_are_written(tmp_path: Path) -> None:
    path = labelled("biceps left", "biceps right", "EMG1", "Triceps").write(tmp_path / "a.c3d")
    assert names(read(path, "biceps*", "tri*", "EMG[12]")) == ["EMG1", "biceps left", "biceps right"]


def test_patterns_never_make_an_activity_signal_a_channel(ghostly: Path) -> None:
    recording = read(ghostly, "CH1*")
    assert names(recording) == ["CH1"]
    assert recording.channels[0].activated is not None
    with pytest.raises(InvalidRecording, match="no label matches 'CH1 activated'"):
        read(ghostly, "CH1 activated")


def test_raw_signals_without_activity_are_channels_too(tmp_path: Path) -> None:
    recording = read(labelled("B Raw", "A Raw", "A activated", "C activated", "EMG").write(tmp_path / "a.c3d"))
    assert [(channel.name, channel.activated is None) for channel in recording.channels] == [("A", False), ("B", True)]


def test_nothing_to_choose_lists_the_labels_in_bounded_length(tmp_path: Path) -> None:
    path = labelled(*(f"gyroscope number {i} of very many" for i in range(60))).write(tmp_path / "a.c3d")
    with pytest.raises(InvalidRecording, match=r"^a.c3d: no label or unit says EMG.*'gyroscope number 0 .*and 40 more") as caught:
        read(path)
    assert len(str(caught.value)) < 1000


def test_repeated_labels_lose_no_channel(tmp_path: Path) -> None:
    file = labelled("EMG", "EMG", "EMG")
    recording = read(file.write(tmp_path / "a.c3d"))
    assert names(recording) == ["EMG", "EMG (2)", "EMG (3)"]
    np.testing.assert_array_equal(recording.channels[2].raw, file.samples[2])


def test_repeated_ghostly_labels_keep_their_own_activity_signals(tmp_path: Path) -> None:
    file = labelled("N Raw", "N Raw", "N activated", "N activated")
    recording = read(file.write(tmp_path / "a.c3d"))
    assert names(recording) == ["N", "N (2)"]
    for i, channel in enumerate(recording.channels):
        assert channel.activated is not None
        np.testing.assert_array_equal(channel.activated, file.samples[2 + i])


@given(st.lists(st.sampled_from(["a", "b", "a (2)", "a (3)", ""])))
def test_unique_names_are_unique_and_begin_as_they_were(given_names: list[str]) -> None:
    found = unique(given_names)
    assert len(set(found)) == len(given_names)
    assert all(new.startswith(old) for new, old in zip(found, given_names, strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_labels_of_any_alphabet_and_odd_blanks_are_readable(tmp_path: Path, encoding: str) -> None:
    path = labelled("  EMG\u00a0 Bizéps \t", "EMG µ", encoding=encoding).write(tmp_path / "a.c3d")
    assert names(read(path)) == ["EMG Bizéps", "EMG µ"]


def test_channels_without_labels_are_called_by_their_number(tmp_path: Path) -> None:
    path = RawC3d(SIGNALS, parameters={"ANALOG:LABELS": ["EMG"]}).write(tmp_path / "a.c3d")
    assert names(read(path, "*")) == ["Analog 2", "EMG"]


def test_more_than_255_channels_keep_their_labels_and_signals(tmp_path: Path) -> None:
    file = labelled(*(f"EMG{i:03}" for i in range(600)))
    recording = read(file.write(tmp_path / "a.c3d"))
    assert names(recording) == list(file.labels)
    np.testing.assert_array_equal([channel.raw for channel in recording.channels], file.samples)


def test_more_than_255_channels_written_by_ezc3d_are_read(tmp_path: Path) -> None:
    written = synthesise(tmp_path / "a.c3d", seed=1, duration_s=0.4, channels=[f"EMG{i:03}" for i in range(300)], ghostly=False)
    assert names(read(written.path)) == list(written.contractions)


@pytest.mark.parametrize("processor", [84, DEC])
@pytest.mark.parametrize(
    ("integers", "stored", "offset", "form", "expected"),
    [
        (True, COUNTS, 0, None, COUNTS),
        (True, COUNTS, 100, "SIGNED", COUNTS - 100),
        (True, COUNTS, -100, "SIGNED", COUNTS + 100),
        (True, COUNTS + 32768, -32768, "UNSIGNED", COUNTS),
        (True, COUNTS + 32768, 2048, "UNSIGNED", COUNTS + 32768 - 2048),
        (True, COUNTS + 32768, 65535 - 65536, "UNSIGNED", COUNTS + 32768 - 65535),
        (False, SIGNALS, 100, None, SIGNALS - 100),
        (False, SIGNALS, -100, None, SIGNALS + 100),
    ],
)
def test_samples_are_scaled_as_the_format_says(
    tmp_path: Path, processor: int, *, integers: bool, stored: Signal, offset: int, form: str | None, expected: Signal
) -> None:
    scales: dict[str, object] = {
        "ANALOG:SCALE": [0.25, 0.5],
        "ANALOG:GEN_SCALE": [2.0],
        "ANALOG:OFFSET": [offset, offset],
        "ANALOG:FORMAT": form and [form],
    }
    path = RawC3d(stored, integers=integers, processor=processor, parameters=scales).write(tmp_path / "a.c3d")
    for channel, values, scale in zip(read(path).channels, expected, (0.5, 1.0), strict=True):
        # ezc3d subtracts offsets from floats in single precision.
        np.testing.assert_allclose(channel.raw, values * scale, rtol=1e-12, atol=1e-9 if integers else 1e-5)


def test_a_scale_of_zero_gives_zeros(tmp_path: Path) -> None:
    parameters: dict[str, object] = {"ANALOG:SCALE": [0.0, 1.0], "ANALOG:FORMAT": ["UNSIGNED"]}
    path = RawC3d(COUNTS + 32768, integers=True, parameters=parameters).write(tmp_path / "a.c3d")
    assert not read(path).channels[0].raw.any()


@pytest.mark.parametrize(("rate_hz", "duration_s"), [(2000.0, 1.0), (1925.93, 2.0), (1000.0, 0.04)])
def test_other_rates_and_short_clips_are_read_whole(tmp_path: Path, rate_hz: float, duration_s: float) -> None:
    written = synthesise(
        tmp_path / "a.c3d", seed=1, duration_s=duration_s, sampling_rate_hz=rate_hz, ghostly=False, unit="mV", channels=["EMG"]
    )
    facts = read(written.path).facts
    assert (facts.samples, facts.amplitude_unit) == (written.samples, "mV")
    assert facts.sampling_rate_hz == pytest.approx(rate_hz, rel=1e-6)
    assert facts.duration_s == facts.samples / facts.sampling_rate_hz


# What is refused

DAMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "the file is empty"),
    "a text": (lambda: b"time;emg\n0;1\n" * 100, "no C3D file"),
    "one byte": (lambda: b"\x02", "no C3D file"),
    "leading zeros": (lambda: bytes(512) + RawC3d(SIGNALS).content(), "no C3D file"),
    "only a header": (lambda: RawC3d(SIGNALS).content()[:512], "truncated within its header"),
    "half a header": (lambda: RawC3d(SIGNALS).content()[:100], "truncated within its header"),
    "cut in the parameters": (lambda: RawC3d(SIGNALS).content()[:700], "truncated or damaged: data begin at byte 1024 of 700"),
    "cut in the data": (lambda: RawC3d(SIGNALS).content()[:-1024], "truncated: its header promises 600 frames of 8 bytes"),
    "2 GB promised": (
        lambda: RawC3d(SIGNALS, parameters={"POINT:FRAMES": [60_000], "POINT:USED": [2_100]}).content(),
        "truncated: its header promises 60000 frames of 33608 bytes",
    ),
    "too many rotations": (lambda: RawC3d(SIGNALS, parameters={"ROTATION:USED": [30_000]}).content(), "it promises 30000 rotations"),
    "MIPS": (lambda: RawC3d(SIGNALS, processor=MIPS).content(), "MIPS processors, which ezc3d does not read"),
    "unknown processor": (lambda: RawC3d(SIGNALS, processor=99).content(), "unknown processor type: 99"),
    "no analog group": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:USED": None}).content(), "no analog channels"),
    "no analog channels": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:USED": [0]}).content(), "no analog channels"),
    "negative channels": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:USED": [-4]}).content(), "no analog channels"),
    "no rate": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:RATE": None}).content(), "at what rate"),
    "rate of zero": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:RATE": [0.0]}).content(), "ANALOG:RATE is 0"),
    "rate of no number": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:RATE": [float("nan")]}).content(), "ANALOG:RATE is nan"),
    "infinite rate": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:RATE": [float("inf")]}).content(), "ANALOG:RATE is inf"),
    "rate as text": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:RATE": ["fast"]}).content(), "ANALOG:RATE is 0"),
    "rates that do not divide": (lambda: RawC3d(SIGNALS, parameters={"POINT:RATE": [300.0]}).content(), "no multiple of its frame rate"),
    "no scale": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:SCALE": None}).content(), "ANALOG:SCALE has 0 values for 2 channels"),
    "a scale too few": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:SCALE": [1.0]}).content(), "ANALOG:SCALE has 1 values"),
    "no offset": (lambda: RawC3d(SIGNALS, parameters={"ANALOG:OFFSET": None}).content(), "ANALOG:OFFSET has 0 values"),
    "scale without value": (
        lambda: RawC3d(SIGNALS, parameters={"ANALOG:GEN_SCALE": (FLOAT, [0], b"")}).content(),
        "GEN_SCALE has no value",
    ),
    "frames without value": (lambda: RawC3d(SIGNALS, parameters={"POINT:FRAMES": (INTEGER, [0], b"")}).content(), "FRAMES has no value"),
    "rotations that begin nowhere": (
        lambda: RawC3d(SIGNALS, parameters={"ROTATION:USED": [0], "ROTATION:DATA_START": (INTEGER, [0], b"")}).content(),
        "ROTATION:DATA_START has no value",
    ),
    "text without dimension": (lambda: RawC3d(SIGNALS, parameters={"INFO:X": (CHAR, [], b"a")}).content(), "'X' has no dimension"),
    "unknown type": (lambda: RawC3d(SIGNALS, parameters={"INFO:X": (3, [1], b"abc")}).content(), "'X' has the unknown type 3"),
    "too many values": (lambda: RawC3d(SIGNALS, parameters={"INFO:X": (BYTE, [255] * 7, b"")}).content(), "'X' promises more values"),
    "long description": (
        lambda: RawC3d(SIGNALS, parameters={"INFO:X": [1]}, descriptions={"INFO:X": "x" * 200}).content(),
        "description of 200 characters",
    ),
    "float for an integer": (
        lambda: RawC3d(SIGNALS, parameters={"ANALOG:OFFSET": [0.0, 0.0]}).content(),
        r"ezc3d cannot read the file \(.*OFFSET parameter is not an INT",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_sound_recording_is_refused_with_name_and_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str], damage: str) -> None:
    content, reason = DAMAGES[damage]
    path = tmp_path / "bad.c3d"
    path.write_bytes(content())
    with pytest.raises(InvalidRecording, match=rf"^bad\.c3d: .*{reason}") as caught:
        read(path)
    assert str(tmp_path) not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for attempt in (read, C3dRecordingReader().digest):
        with pytest.raises(InvalidRecording, match=r"^gone\.c3d: the file cannot be read: No such file") as caught:
            attempt(tmp_path / "gone.c3d")
        assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    for attempt in (read, C3dRecordingReader().digest):
        with pytest.raises(InvalidRecording, match="this is a directory"):
            attempt(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_somebody_to_write(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.c3d")
    with pytest.raises(InvalidRecording, match="no regular file"):
        read(tmp_path / "pipe.c3d")


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything, so for a moment it is somebody else."""
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if privileged:
            os.seteuid(0)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RawC3d(SIGNALS).write(tmp_path / "secret.c3d").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # Folders above may be closed to others.
    with without_privileges(), pytest.raises(InvalidRecording, match=r"secret\.c3d: the file cannot be read: Permission denied"):
        read(Path("secret.c3d"))


def test_a_file_beyond_the_bound_is_refused_with_the_bound(tmp_path: Path) -> None:
    path = RawC3d(SIGNALS).write(tmp_path / "big.c3d")
    with pytest.raises(InvalidRecording, match=r"big.c3d: the file has \d+ bytes; at most 1000 are read \(size_bytes_max\)"):
        read(path, reader=C3dRecordingReader(size_bytes_max=1000))


def test_a_recording_longer_than_c3d_can_count_is_refused_rather_than_cut(tmp_path: Path) -> None:
    path = RawC3d(np.ones((1, 70_000)), parameters={"POINT:FRAMES": [65_535]}).write(tmp_path / "long.c3d")
    with pytest.raises(InvalidRecording, match="longer than the 65535 frames"):
        read(path)


def test_a_recording_of_as_many_frames_as_c3d_can_count_is_read(tmp_path: Path) -> None:
    path = RawC3d(np.ones((1, 65_535))).write(tmp_path / "longest.c3d")
    assert read(path).facts.samples == 65_535


def test_frames_come_from_the_header_where_the_parameters_are_silent(tmp_path: Path) -> None:
    path = RawC3d(SIGNALS, parameters={"POINT:FRAMES": None}).write(tmp_path / "a.c3d")
    assert read(path).facts.samples == 600


def test_trailing_silence_is_part_of_the_recording(tmp_path: Path) -> None:
    x = SIGNALS.copy()
    x[:, 200:] = 0.0
    assert read(RawC3d(x).write(tmp_path / "a.c3d")).facts.samples == 600


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = RawC3d(SIGNALS).write(tmp_path / "growing.c3d")
    digest = adapters.c3d.reader._sha256

    def grow_and_digest(path: Path) -> str:
        with path.open("ab") as file:
            file.write(bytes(512))
        return digest(path)

    monkeypatch.setattr(adapters.c3d.reader, "_sha256", grow_and_digest)
    with pytest.raises(InvalidRecording, match=r"growing\.c3d: the file changed while it was being read"):
        read(path)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_are_read_or_refused_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    """Bits rot anywhere in header and parameters: what gets through to ezc3d must not end the process."""
    content = bytearray(RawC3d(SIGNALS, parameters={"INFO:TIME": ["2023", "1", "2", "3", "4"], "ANALOG:UNITS": ["V", "V"]}).content())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 1400))] = data.draw(st.integers(0, 255))
    path = tmp_path / "rotten.c3d"
    path.write_bytes(content)
    with contextlib.suppress(InvalidRecording):
        recording = read(path, "*")
        assert all(len(channel.raw) == recording.facts.samples for channel in recording.channels)
