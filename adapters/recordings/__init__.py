"""The recording store: recordings in a local folder, or in any store that speaks S3, through obstore."""

from __future__ import annotations

from adapters.recordings.health import RecordingStoreHealth
from adapters.recordings.places import S3Access, memory_place, place_at
from adapters.recordings.policy import RecordingPolicy
from adapters.recordings.store import ObstoreRecordingStore

__all__ = ["ObstoreRecordingStore", "RecordingPolicy", "RecordingStoreHealth", "S3Access", "memory_place", "place_at"]
