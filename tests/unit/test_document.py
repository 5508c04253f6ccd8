"""The document's bytes."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given

from adapters import document
from domain.analytics import Fact, SessionAnalytics
from domain.errors import EmgSessionsError, StoredDataInvalid
from domain.session import SessionId
from tests.strategies import any_analytics, examples, some_analytics

SESSION = SessionId(UUID("6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"))
GOLDEN = (
    '{"schema":1,"session_id":"6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10","recording":{"file_name":"Ghostly_Emg_20250310_11-50-16-0578.'
    'c3d","sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","size_bytes":1234567,"sampling_rate_hz":990.'
    '0,"samples":74250,"duration_s":75.0,"recorded_at":"2025-03-10T11:50:16.578123","amplitude_unit":"V","system":"GHOSTLY","game"'
    ':{"lvl":3,"name":"Maze Größe→","score":12.5,"values":["a",1,2.5]},"subject":{"therapist":"T-7"}},"parameters":{"channels":["'
    'CH*","Ü?"],"spectrum_window":"hann","spectrum_segment_samples":512,"spectrum_overlap_samples":64,"window_length_s":2.0,"windo'
    'w_step_fraction":0.25,"envelope_highpass_hz":21.0,"envelope_highpass_order":3,"envelope_lowpass_hz":11.0,"envelope_lowpass_or'
    'der":5,"envelope_padding_samples":16,"envelope_smoothing_s":0.06,"mvc_session":0.00045,"mvc_by_channel":{"CH1":0.0003},"mvc_e'
    'stimate_percentile":96.0,"mvc_threshold_percent":76.0,"duration_threshold_ms":2001.0,"onset_fraction_activated":0.06,"onset_f'
    'raction_envelope":0.11,"onset_smoothing_samples":101,"contraction_length_s_min":0.11,"contraction_gap_s_max":0.21,"contractio'
    'n_length_s_max":10.5},"channels":[{"name":"CH1","rms":0.000125,"mav":0.000095,"mpf_hz":83.5,"mdf_hz":71.25,"fi_nsm5":3.25e-14'
    ',"windows":{"rms":{"mean":1.1,"std":1.2,"min":1.3,"max":1.4,"cv":1.5,"count":8},"mav":{"mean":2.1,"std":2.2,"min":2.3,"max":2'
    '.4,"cv":2.5,"count":9},"mpf_hz":{"mean":3.1,"std":3.2,"min":3.3,"max":3.4,"cv":3.5,"count":10},"mdf_hz":{"mean":4.1,"std":4.2'
    ',"min":4.3,"max":4.4,"cv":4.5,"count":11},"fi_nsm5":{"mean":5.1,"std":5.2,"min":5.3,"max":5.4,"cv":5.5,"count":12}},"envelope'
    '":{"mean":0.0001,"std":0.00002,"min":1e-6,"max":0.0003},"mvc":{"value":0.00045,"source":"session","threshold":0.0003375,"thre'
    'shold_percent":75.0},"contractions":{"count":4,"good":1,"meets_mvc":2,"meets_duration":3,"mean_duration_ms":1500.5,"min_durat'
    'ion_ms":900.25,"max_duration_ms":2300.75,"time_under_tension_ms":6002.0,"mean_amplitude":0.00025,"max_amplitude":0.00035,"com'
    'pliance_rate":0.25,"items":[{"start_ms":120.5,"end_ms":2420.75,"duration_ms":2300.25,"mean_amplitude":0.00021,"max_amplitude"'
    ':0.00034,"meets_mvc":true,"meets_duration":false,"is_good":false},{"start_ms":3000.125,"end_ms":2420.75,"duration_ms":2300.25'
    ',"mean_amplitude":0.00021,"max_amplitude":0.00034,"meets_mvc":true,"meets_duration":false,"is_good":false}]},"problems":["the'
    ' spectrum has no power above 20 Hz"]}],"summary":{"channel_count":1,"overall_compliance":0.25,"processed_at":"2025-03-11T08:3'
    '0:01.000001Z"}}'
)  # fmt: skip
BUMP = "the document changed: raise SCHEMA in domain/analytics.py, FORMAT in adapters/redis_cache/entry.py, and write a migration"


def test_the_document_has_not_changed() -> None:
    assert document.encode(some_analytics(SESSION)).decode() == GOLDEN, BUMP
    assert document.decode(GOLDEN, of="the golden one") == some_analytics(SESSION), BUMP


@given(analytics=any_analytics)
@examples(150)
def test_whatever_is_encoded_is_decoded_equal_and_encoded_alike(analytics: SessionAnalytics) -> None:
    body = document.encode(analytics)
    again = document.decode(body, of="it")
    assert again == analytics
    assert document.encode(again) == body
    assert document.decode(body.decode(), of="it") == analytics


@given(analytics=any_analytics)
@examples(50)
def test_the_document_is_json_without_white_space_in_the_order_of_the_fields(analytics: SessionAnalytics) -> None:
    body = document.encode(analytics)
    parsed = json.loads(body, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert json.dumps(parsed, ensure_ascii=False, separators=(",", ":")).count(",") == body.decode().count(",")
    in_order(parsed, analytics)


def in_order(parsed: Any, value: Any) -> None:
    if is_dataclass(value):
        assert list(parsed) == [field.name for field in fields(value)]
        for field in fields(value):
            in_order(parsed[field.name], getattr(value, field.name))
    elif isinstance(value, tuple):
        for one, other in zip(parsed, value, strict=True):
            in_order(one, other)


def test_the_order_of_facts_does_not_show() -> None:
    analytics = some_analytics()
    game: dict[str, Fact] = {"b": 1, "aa": 2, "a": 3}
    one, other = (replace(analytics, recording=replace(analytics.recording, game=facts)) for facts in (game, dict(sorted(game.items()))))
    assert one == other
    assert document.encode(one) == document.encode(other)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")], ids=repr)
@pytest.mark.parametrize("where", ["duration_s", "score"])
def test_what_is_no_number_never_gets_into_a_document(where: str, value: float) -> None:
    """None says "cannot be computed"; NaN says that somebody forgot to. Silently made null it could not be read again."""
    analytics = some_analytics()
    changes: dict[str, Any] = {"duration_s": value} if where == "duration_s" else {"game": {"score": value}}
    with pytest.raises((ValueError, EmgSessionsError)):
        document.encode_to_store(replace(analytics, recording=replace(analytics.recording, **changes)))


def damaged(old: bytes, new: bytes) -> bytes:
    body = document.encode(some_analytics(SESSION))
    assert old in body
    return body.replace(old, new, 1)


DAMAGES = {
    "nothing": b"",
    "no JSON": b"secret-value",
    "cut off": document.encode(some_analytics(SESSION))[:-1],
    "something after it": document.encode(some_analytics(SESSION)) + b"secret-value",
    "no UTF-8": damaged(b'"T-7"', b'"secret-value\xff"'),
    "another schema": damaged(b'"schema":1', b'"schema":2'),
    "a text for a number": damaged(b'"rms":0.000125', b'"rms":"secret-value"'),
    "no session id": damaged(str(SESSION).encode(), b"secret-value"),
    "no moment": damaged(b"2025-03-11T08:30:01.000001Z", b"secret-value"),
    "a missing part": damaged(b'"windows"', b'"secret-value"'),
    "an unknown source": damaged(b'"source":"session"', b'"source":"secret-value"'),
    "contradicting parameters": damaged(b'"spectrum_overlap_samples":64', b'"spectrum_overlap_samples":6400'),
    "an impossible maximum": damaged(b'{"CH1":0.0003}', b'{"secret-value":-1}'),
    "a list": b'["secret-value"]',
    "deep nesting": b"[" * 100_000,
}


@pytest.mark.parametrize("body", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_no_document_is_named_and_not_quoted(body: bytes) -> None:
    with pytest.raises(StoredDataInvalid) as caught:
        document.decode(body, of="session 6f1c")
    assert "session 6f1c" in str(caught.value)
    assert "secret-value" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_times_keep_their_microseconds_and_their_zones() -> None:
    analytics = some_analytics()
    again = document.decode(document.encode(analytics), of="it")
    assert again.summary.processed_at.microsecond == 1
    assert again.summary.processed_at.utcoffset() == analytics.summary.processed_at.utcoffset()
    assert again.recording.recorded_at == datetime(2025, 3, 10, 11, 50, 16, 578_123)  # noqa: DTZ001 - recordings name no time zone
