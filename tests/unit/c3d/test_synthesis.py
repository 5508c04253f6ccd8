"""Synthetic recordings look like real ones to the reader, to the analysis and to the eye."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from adapters.c3d.reader import C3dRecordingReader
from adapters.c3d.synthesis import Synthesis, exercise, ghostly_file_name, synthesise
from domain.analytics import AnalysisParameters, SessionAnalytics
from domain.emg.analysis import analyse
from domain.emg.recording import Recording

PARAMETERS = AnalysisParameters()
MOMENT = datetime(2025, 3, 10, 11, 50, 16, 578_000)  # noqa: DTZ001 - recordings name no time zone


@pytest.fixture(scope="module", params=range(3))
def synthesis(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    return synthesise(tmp_path_factory.mktemp("synthesis") / ghostly_file_name(MOMENT), seed=request.param)


@pytest.fixture(scope="module")
def recording(synthesis: Synthesis) -> Recording:
    return C3dRecordingReader().read(synthesis.path, PARAMETERS)


@pytest.fixture(scope="module")
def analytics(recording: Recording) -> SessionAnalytics:
    return analyse(recording, PARAMETERS, processed_at=datetime(2025, 3, 10, 12, tzinfo=UTC))


def test_the_contractions_found_are_those_made(synthesis: Synthesis, analytics: SessionAnalytics) -> None:
    for channel in analytics.channels:
        made = synthesis.contractions[channel.name]
        assert channel.contractions.count == pytest.approx(len(made), abs=2)
        middles_s = [(one.start_s + one.end_s) / 2 for one in made]
        for found in channel.contractions.items:
            assert any(found.start_ms < middle_s * 1000 < found.end_ms for middle_s in middles_s)


def test_some_contractions_are_good_and_others_are_not(analytics: SessionAnalytics) -> None:
    for channel in analytics.channels:
        assert 0 < channel.contractions.good < channel.contractions.count


def test_metrics_lie_in_the_range_of_real_recordings(analytics: SessionAnalytics) -> None:
    for channel in analytics.channels:
        assert channel.problems == ()
        assert channel.rms is not None
        assert channel.mpf_hz is not None
        assert 1e-5 < channel.rms < 3e-3
        assert 40 < channel.mpf_hz < 150


def test_the_muscle_tires(recording: Recording, synthesis: Synthesis) -> None:
    first, last = (analyse_part(recording, part) for part in (slice(None, 25_000), slice(-25_000, None)))
    for one, other in zip(first.channels, last.channels, strict=True):
        assert one.mpf_hz is not None
        assert other.mpf_hz is not None
        assert other.mpf_hz < one.mpf_hz


def analyse_part(recording: Recording, part: slice) -> SessionAnalytics:
    channels = tuple(type(channel)(channel.name, channel.raw[part]) for channel in recording.channels)
    return analyse(Recording(recording.facts, channels), PARAMETERS, processed_at=datetime(2025, 1, 1, tzinfo=UTC))


def test_the_activity_signal_is_exactly_zero_at_rest(recording: Recording) -> None:
    for channel in recording.channels:
        assert channel.activated is not None
        assert channel.activated.min() == 0.0
        assert 0.2 < np.mean(channel.activated == 0) < 0.9


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    contents = [synthesise(tmp_path / f"{i}.c3d", seed=seed, duration_s=3.0).path.read_bytes() for i, seed in enumerate([5, 5, 6])]
    assert contents[0] == contents[1] != contents[2]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.c3d"
    synthesise(path, seed=1, duration_s=6.0)
    short = synthesise(path, seed=1, duration_s=3.0)
    assert C3dRecordingReader().read(path, PARAMETERS).facts.samples == short.samples == 2970


def test_facts_are_those_of_a_game(recording: Recording) -> None:
    facts = recording.facts
    assert (facts.recorded_at, facts.system, facts.game["game_name"]) == (MOMENT, "OpenFeasyo", "Ghostly")
    assert (facts.samples, facts.sampling_rate_hz, facts.subject["player_name"]) == (74_250, 990.0, "Synthetic")


@pytest.mark.parametrize(("unit", "per_volt"), [("V", 1.0), ("mV", 1e3), ("µV", 1e6), ("uV", 1e6)])
def test_units_scale_the_same_signal(tmp_path: Path, unit: str, per_volt: float) -> None:
    def raw(unit: str | None) -> np.ndarray:
        path = synthesise(tmp_path / "a.c3d", seed=2, duration_s=2.0, channels=["EMG1"], ghostly=False, unit=unit).path
        recording = C3dRecordingReader().read(path, PARAMETERS)
        assert recording.facts.amplitude_unit == unit
        return recording.channels[0].raw

    np.testing.assert_allclose(raw(unit), raw(None) * per_volt, rtol=1e-6)


def test_an_exercise_keeps_contractions_apart_and_within_the_recording() -> None:
    planned = exercise(np.random.default_rng(3), 300.0)
    assert len(planned) > 40
    assert planned[0].start_s > 0
    assert planned[-1].end_s < 300.0
    assert all(before.end_s + 1 < after.start_s for before, after in itertools.pairwise(planned))


def test_a_file_name_carries_its_moment() -> None:
    assert ghostly_file_name(MOMENT) == "Ghostly_Emg_20250310_11-50-16-0578.c3d"


def test_what_c3d_cannot_hold_is_refused_before_writing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a C3D file counts up to 65535"):
        synthesise(tmp_path / "a.c3d", seed=1, duration_s=1e6)
    with pytest.raises(ValueError, match=r"does not end in \.c3d"):
        synthesise(tmp_path / "a.bin", seed=1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="could not be written"):
        synthesise(tmp_path / "missing" / "a.c3d", seed=1, duration_s=1.0)
