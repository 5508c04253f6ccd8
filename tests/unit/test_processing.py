"""How often and how soon processing is tried."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import (
    AnalysisFailed,
    InvalidParameters,
    InvalidRecording,
    InvalidRecordingKey,
    InvalidSettings,
    RecordingNotFound,
    RecordingTooLarge,
    StorageUnavailable,
    may_pass,
)
from domain.processing import ProcessingPolicy
from domain.session import SessionState, stays_settled


@given(attempts=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_waits_double_up_to_the_longest_and_never_come_together(attempts: int, jitter: float) -> None:
    policy = ProcessingPolicy(backoff_s=2.0, backoff_s_max=300.0)
    longest = 300.0 if attempts > 8 else min(300.0, 2.0 * 2 ** (attempts - 1))
    assert longest / 2 <= policy.wait_s(attempts, jitter) <= longest
    assert policy.wait_s(attempts, 0.0) == longest / 2


def test_the_first_waits_are_these() -> None:
    policy = ProcessingPolicy(backoff_s=2.0, backoff_s_max=20.0)
    assert [policy.wait_s(attempts, 0.0) for attempts in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ({"concurrency": 0}, "WORKER_CONCURRENCY"),
        ({"attempts_max": 0}, "PROCESSING_ATTEMPTS_MAX"),
        ({"backoff_s": 0.0}, "PROCESSING_BACKOFF_S"),
        ({"backoff_s": 10.0, "backoff_s_max": 9.0}, "PROCESSING_BACKOFF_S_MAX"),
        ({"drain_s": -1.0}, "WORKER_DRAIN_S"),
    ],
)
def test_bounds_that_make_no_sense_name_their_setting(given: dict[str, Any], setting: str) -> None:
    with pytest.raises(InvalidSettings, match=setting):
        ProcessingPolicy(**given)


def test_what_is_wrong_with_a_recording_stays_wrong_and_all_else_may_pass() -> None:
    for error in (InvalidRecording("a", "b"), InvalidRecordingKey("a"), RecordingTooLarge(1), InvalidParameters("a")):
        assert not may_pass(error)
    for passing in (AnalysisFailed("a", "b"), RecordingNotFound("a"), StorageUnavailable("a"), ZeroDivisionError()):
        assert may_pass(passing)


def test_only_what_is_settled_stays_so_and_only_against_late_workers() -> None:
    kept = {(now, noted) for now in SessionState for noted in SessionState if stays_settled(now, noted)}
    settled, late = (SessionState.COMPLETED, SessionState.DUPLICATE), (SessionState.PROCESSING, SessionState.FAILED)
    assert kept == {(now, noted) for now in settled for noted in late}
