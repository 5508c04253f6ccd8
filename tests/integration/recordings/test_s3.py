"""Recordings in S3: outages, refusals, and what RECORDINGS_URL may be."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from obstore import exceptions

from adapters.recordings import ObstoreRecordingStore, RecordingPolicy, S3Access, place_at
from adapters.recordings.errors import BY_ERROR, translated
from adapters.settings import load_settings
from container import resolve, running
from domain.errors import EmgSessionsError, InvalidSettings, RecordingNotFound, RecordingTooLarge, StorageRefused, StorageUnavailable
from tests.s3 import S3Server, s3_server

HASTY = RecordingPolicy(transfer_s=0.5, connect_s=0.5, retries=0)


async def some() -> AsyncIterator[bytes]:
    yield b"some"


def store_at(s3: S3Server, folder: Path, *, bucket: str | None = None, **access: str) -> ObstoreRecordingStore:
    if bucket is None:
        bucket = f"b{uuid4().hex}"
        s3.make_bucket(bucket)
    return ObstoreRecordingStore(place_at(f"s3://{bucket}/p", folder, replace(s3.access, **access), HASTY), HASTY)


async def every_failure_of(store: ObstoreRecordingStore, kind: type[EmgSessionsError], match: str) -> None:
    async def fetch() -> None:
        async with store.fetched("a"):
            pass

    for attempt in (lambda: store.put("a", some()), fetch, lambda: store.move("a", "b"), lambda: store.delete("a")):
        with pytest.raises(kind, match=match) as caught:
            await attempt()
        assert "secret" not in str(caught.value)


async def test_the_wrong_secret_is_a_refusal_that_names_the_settings(s3: S3Server, tmp_path: Path) -> None:
    await every_failure_of(store_at(s3, tmp_path, secret_access_key="wrong-secret"), StorageRefused, "AWS_SECRET_ACCESS_KEY")


async def test_a_bucket_that_is_not_there_is_a_refusal(s3: S3Server, tmp_path: Path) -> None:
    await every_failure_of(store_at(s3, tmp_path, bucket="nowhere"), StorageRefused, "bucket in RECORDINGS_URL")


async def test_a_server_that_is_not_there_is_an_outage(s3: S3Server, tmp_path: Path, closed_port: int) -> None:
    await every_failure_of(store_at(s3, tmp_path, endpoint=f"http://127.0.0.1:{closed_port}"), StorageUnavailable, "RECORDINGS_URL")


async def test_a_server_that_hangs_is_an_outage_within_its_deadline(tmp_path: Path) -> None:
    with s3_server(tmp_path / "buckets") as server:
        store = store_at(server, tmp_path)
        await store.put("a", some())
        with server.frozen():
            began = time.monotonic()
            await every_failure_of(store, StorageUnavailable, "in time|reached")
            assert time.monotonic() - began < 4 * HASTY.transfer_s + 10
        await store.put("c", some())  # What was asked meanwhile may still be done, so "a" may be anywhere.
        async with store.fetched("c") as path:
            assert path.read_bytes() == b"some"
    assert list((tmp_path / "recordings.scratch").iterdir()) == []


async def test_objects_lie_where_other_programs_look_for_them(s3: S3Server, tmp_path: Path) -> None:
    s3.make_bucket("c3d-examples")
    store = ObstoreRecordingStore(place_at("s3://c3d-examples", tmp_path, s3.access, HASTY), HASTY)
    await store.put("P001/a b.c3d", some())
    assert (s3.folder / "c3d-examples" / "P001" / "a b.c3d").read_bytes() == b"some"


@pytest.mark.parametrize(
    "url",
    ["", "s3://", "s3:///a", "s3://b/../c", "s3://b/a//b", "https://host/bucket", "file://host/a", "file:a", "memory://a", "recordings"],
)
def test_no_other_place_is_understood(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSettings, match="RECORDINGS_URL"):
        place_at(url, tmp_path, S3Access(), HASTY)


def test_credentials_in_the_address_are_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="AWS_ACCESS_KEY_ID") as caught:
        place_at("s3://key:hunter2@bucket/p", tmp_path, S3Access(), HASTY)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(S3Access(secret_access_key="hunter2"))


def test_every_error_of_obstore_has_its_meaning() -> None:
    translated_elsewhere = {"NotFoundError"}  # It is FileNotFoundError by now.
    never_asked_for = {"AlreadyExistsError", "PreconditionError", "NotModifiedError"}  # We set no conditions.
    general = {"BaseError", "GenericError", "JoinError"}  # An outage.
    listed = {kind.__name__ for kind, _, _ in BY_ERROR}
    known = {name for name in dir(exceptions) if name.endswith("Error")}
    assert known == listed | translated_elsewhere | never_asked_for | general
    for name in known - {"NotFoundError"}:
        with pytest.raises(EmgSessionsError), translated("a"):
            raise getattr(exceptions, name)("said by the store")
    with pytest.raises(RecordingNotFound), translated("a"):
        raise FileNotFoundError("said by the store")


@pytest.mark.parametrize("bound", ["bytes_max", "arrival_s", "connect_s", "transfer_s", "transfers_max", "leftover_s"])
def test_bounds_are_checked(bound: str) -> None:
    with pytest.raises(InvalidSettings, match="leftover_s" if bound == "leftover_s" else bound):
        RecordingPolicy(**{bound: 0})


@pytest.mark.parametrize("place", ["s3", "folder", "default", "memory"])
async def test_the_settings_name_the_place(s3: S3Server, tmp_path: Path, place: str) -> None:
    s3.make_bucket(bucket := f"b{uuid4().hex}")
    url = {"s3": f"s3://{bucket}/recordings", "folder": f"file://{tmp_path}/a%20folder", "default": "", "memory": "memory://"}[place]
    kept_at = {"s3": s3.folder / bucket / "recordings", "folder": tmp_path / "a folder", "default": tmp_path / "data" / "recordings"}.get(
        place
    )
    settings = load_settings(
        recordings_url=url,
        recording_megabytes_max=0.001,
        data_dir=tmp_path / "data",
        aws_access_key_id=s3.access.access_key_id,
        aws_secret_access_key=s3.access.secret_access_key,
        aws_region=s3.access.region,
        aws_endpoint_url=s3.endpoint,
    )
    async with running(settings) as app:
        store = await resolve(app.recording_store)
        await store.put("P1/a.c3d", some())
        async with store.fetched("P1/a.c3d") as path:
            assert path.read_bytes() == b"some"
        assert kept_at is None or (kept_at / "P1" / "a.c3d").read_bytes() == b"some"

        async def much() -> AsyncIterator[bytes]:
            yield bytes(1001)

        with pytest.raises(RecordingTooLarge):
            await store.put("P1/b.c3d", much())
    assert "secret-of-tests" not in repr(settings)


async def test_what_is_not_set_is_taken_from_the_environment_as_other_programs_do(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.make_bucket(bucket := f"b{uuid4().hex}")
    for name, value in (
        ("AWS_ACCESS_KEY_ID", s3.access.access_key_id), ("AWS_SECRET_ACCESS_KEY", s3.access.secret_access_key),
        ("AWS_REGION", s3.access.region),
    ):  # fmt: skip
        assert value is not None
        monkeypatch.setenv(name, value)
    store = ObstoreRecordingStore(place_at(f"s3://{bucket}", tmp_path, S3Access(endpoint=s3.endpoint), HASTY), HASTY)
    await store.put("a.c3d", some())
    assert (s3.folder / bucket / "a.c3d").read_bytes() == b"some"
