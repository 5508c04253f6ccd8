"""What storage events mean: arrivals, what is ignored and why, and what is no event."""

from __future__ import annotations

import json
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.http.storage_events import (
    Ignored,
    MalformedEvent,
    RecordingArrived,
    Recordings,
    is_plain_path,
    judge,
    parse_event,
    patient_of,
)
from domain.mvc import GivenMvc

ANY = Recordings(bucket=None, name_pattern="*")
C3D = Recordings(bucket="recordings", name_pattern="*.c3d")


def row(**changes: Any) -> dict[str, Any]:
    metadata = {"eTag": '"5f2a"', "size": 1000, "mimetype": "application/octet-stream"}
    return {"id": "a1", "name": "P001/a.c3d", "bucket_id": "recordings", "version": "v1", "metadata": metadata, "owner": None} | changes


def event(kind: str = "INSERT", *, record: Any = None, old_record: Any = None, table: str = "objects", schema: str = "storage") -> bytes:
    content = {"type": kind, "table": table, "schema": schema, "record": record, "old_record": old_record, "extra": [1, {}]}
    return json.dumps(content).encode()


def judged(body: bytes, recordings: Recordings = C3D) -> RecordingArrived | Ignored:
    return judge(parse_event(body), recordings)


def test_an_object_that_was_inserted_has_arrived() -> None:
    assert judged(event(record=row())) == RecordingArrived("recordings", "P001/a.c3d", '"5f2a"', 1000)


@pytest.mark.parametrize(
    ("changes", "revision"),
    [({}, '"5f2a"'), ({"metadata": None}, "v1"), ({"metadata": {}}, "v1"), ({"metadata": None, "version": None}, "a1")],
)
def test_the_revision_is_made_of_the_contents_where_they_are_known(changes: dict[str, Any], revision: str) -> None:
    arrived = judged(event(record=row(**changes)))
    assert isinstance(arrived, RecordingArrived)
    assert arrived.revision == revision


def test_new_contents_under_the_same_name_have_arrived() -> None:
    new = row(metadata={"eTag": '"77"', "size": 7})
    assert judged(event("UPDATE", record=new, old_record=row())) == RecordingArrived("recordings", "P001/a.c3d", '"77"', 7)


def test_a_renamed_object_has_arrived_since_it_may_not_have_been_a_recording_before() -> None:
    assert isinstance(judged(event("UPDATE", record=row(), old_record=row(name="P001/a.part"))), RecordingArrived)


@pytest.mark.parametrize(
    ("user_metadata", "mvc"),
    [
        (None, None),
        ({}, None),
        ({"mvc": None}, None),
        ({"mvc": " "}, None),
        ({"mvc": "CH1=0.0003,0.0005", "device": ["any", 1]}, GivenMvc(0.0005, (("CH1", 0.0003),))),
    ],
)
def test_an_object_brings_its_mvc_values(user_metadata: Any, mvc: GivenMvc | None) -> None:
    arrived = judged(event(record=row(user_metadata=user_metadata)))
    assert isinstance(arrived, RecordingArrived)
    assert arrived.mvc == mvc


@pytest.mark.parametrize("mvc", ["much", "CH1=0", "CH1=1,CH1=2", 1, {}, True])
def test_mvc_values_that_are_none_are_malformed_in_recordings_alone(mvc: object) -> None:
    with pytest.raises(MalformedEvent, match=r"^record\.user_metadata\.mvc must ") as caught:
        judged(event(record=row(user_metadata={"mvc": mvc})))
    assert "much" not in str(caught.value)
    assert isinstance(judged(event(record=row(name="notes.txt", user_metadata={"mvc": mvc}))), Ignored)


def test_other_mvc_values_of_the_same_contents_have_arrived() -> None:
    before = row(user_metadata={"mvc": "CH1=0.0003"})
    arrived = judged(event("UPDATE", record=row(user_metadata={"mvc": "CH1=0.0004"}), old_record=before))
    assert arrived == RecordingArrived("recordings", "P001/a.c3d", '"5f2a"', 1000, GivenMvc(None, (("CH1", 0.0004),)))
    assert isinstance(judged(event("UPDATE", record=before | {"updated_at": "now"}, old_record=before)), Ignored)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (event("DELETE", old_record=row()), "only INSERT and UPDATE"),
        (event("TRUNCATE"), "only INSERT and UPDATE"),
        (event(record=row(), table="buckets"), "storage.objects"),
        (event(record=row(), schema="public"), "storage.objects"),
        (event(record=row(bucket_id="avatars")), "WEBHOOK_BUCKET"),
        (event(record=row(name="P001/notes.txt")), "WEBHOOK_NAME_PATTERN"),
        (event("UPDATE", record=row(last_accessed_at="now"), old_record=row()), "same as before"),
    ],
)
def test_what_is_ignored_says_why(body: bytes, reason: str) -> None:
    ignored = judged(body)
    assert isinstance(ignored, Ignored)
    assert reason in ignored.reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b"\xff\xfe{}",
        b'{"type": "INSERT"}',
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        event(record=None),
        event(record=[]),
        event(record={"name": "a.c3d"}),
        event(record=row(name="")),
        event(record=row(name="x" * 1025)),
        event(record=row(name=7)),
        event(record=row(metadata={"size": -1})),
        event(record=row(metadata={"size": 2**60})),
        event(record=row(metadata={"size": "1"})),
        event(record=row(metadata=[])),
        event(record=row(user_metadata=[])),
        event(record=row(user_metadata="CH1=1")),
        event("", record=row()),
        event("X" * 33, record=row()),
        event(record=row(name="\ud800.c3d")),
    ],
)
def test_what_is_no_event_is_malformed_and_not_repeated(body: bytes) -> None:
    with pytest.raises(MalformedEvent) as caught:
        judged(body)
    assert "P001" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../a.c3d", "P001/../a.c3d", "/a.c3d", "P001//a.c3d", "./a.c3d", "P001/./a.c3d", "..\\a.c3d", "P001/a.c3d/", "a\x00.c3d",
        "a\n.c3d", "a\u202e.c3d", "P001/..", "\u2028.c3d",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_malformed(name: str) -> None:
    with pytest.raises(MalformedEvent, match="path of printable characters"):
        judged(event(record=row(name=name)), ANY)


@pytest.mark.parametrize("bucket", ["..", ".", "a/b", "a\\b", "a\n"])
def test_buckets_that_lead_elsewhere_are_malformed(bucket: str) -> None:
    with pytest.raises(MalformedEvent):
        judged(event(record=row(bucket_id=bucket)), ANY)


def test_a_trick_in_another_bucket_is_not_looked_at() -> None:
    assert isinstance(judged(event(record=row(bucket_id="avatars", name="../x"))), Ignored)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_malformed(body: bytes) -> None:
    with suppress(MalformedEvent):
        judged(body)


@given(st.text(max_size=60))
@example("a/b.c3d")
def test_a_plain_path_stays_below_where_it_is_put(name: str) -> None:
    if is_plain_path(name):
        parts = name.split("/")
        assert all(parts)
        assert not {".", ".."} & set(parts)
        assert name.isprintable()


@given(st.text(alphabet="aB.c3dC/*?[]", max_size=20), st.sampled_from(["*.c3d", "P*/*.c3d", "*", "?.c3d", "[ab]*"]))
def test_a_pattern_matches_in_either_case_of_letters(name: str, pattern: str) -> None:
    matches = fnmatchcase(name.lower(), pattern.lower())
    assert (Recordings(None, pattern).matches(name)) is matches


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("P001/a.c3d", "P001"), ("P001/x/a.c3d", "P001"), ("a.c3d", None), ("P001", None), ("p001/a.c3d", None), ("P1x/a", None),
        ("uploads/P001/a.c3d", None),
    ],
)  # fmt: skip
def test_the_first_folder_is_the_patient_where_it_looks_like_one(name: str, code: str | None) -> None:
    assert patient_of(name, "P[0-9]+") == code


@pytest.mark.parametrize(
    ("folder", "code"), [("P" * 64, "P" * 64), ("P" * 65, None), ("Jane Doe", None), ("Pé", None), (".P1", None), ("-P1", None)]
)
def test_a_folder_is_a_patient_only_if_an_upload_could_name_it_so(folder: str, code: str | None) -> None:
    assert patient_of(f"{folder}/a.c3d", ".*") == code
