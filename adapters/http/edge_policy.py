"""The bounds and choices where requests enter: webhook, upload, bodies, access log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from adapters.http.bodies import BodyBounds
from adapters.http.storage_events import Recordings
from domain.errors import InvalidSettings

_KIB = 1024


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """By which secrets events are signed, and which objects are recordings.

    Without a secret no event is taken, unless `unsigned_allowed`. `patient_pattern` is what the first folder of an object's name is like
    if it is a patient's code.
    """

    secrets: tuple[str, ...] = field(default=(), repr=False)
    unsigned_allowed: bool = False
    recordings: Recordings = Recordings(bucket=None, name_pattern="*.c3d")
    patient_pattern: str = r"P[0-9]+"

    def __post_init__(self) -> None:
        if "" in self.secrets:
            raise InvalidSettings("WEBHOOK_SECRET: must not be empty")
        try:
            re.compile(self.patient_pattern)
        except re.error as error:
            raise InvalidSettings(f"WEBHOOK_PATIENT_PATTERN: is no regular expression ({error})") from None


@dataclass(frozen=True, slots=True)
class EdgePolicy:
    """All of it. `recording_bytes_max` is the recording store's own bound; the form around a file may have a little more."""

    webhook: WebhookPolicy = field(default_factory=WebhookPolicy)
    bodies: BodyBounds = BodyBounds(bytes_max=1024 * _KIB)
    event_bodies: BodyBounds = BodyBounds(bytes_max=64 * _KIB, idle_s_max=5.0, total_s_max=10.0)
    upload_bodies: BodyBounds = BodyBounds(bytes_max=100_000_000, idle_s_max=15.0, total_s_max=900.0)
    log_requests: bool = False
