"""The bounds and choices where requests enter: webhook, upload, bodies, access log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from adapters.http.bodies import FORM_OVERHEAD_BYTES_MAX, BodyBounds
from adapters.http.storage_events import Recordings
from domain.errors import InvalidSettings, RecordingTooLarge

_KIB = 1024


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """By which secrets events are signed, and which objects are recordings.

    Without a secret no event is taken, unless `unsigned_allowed`. `patient_pattern` is what the first folder of an object's name is like
    if it is a patient's code.
    """

    secrets: tuple[str, ...] = field(default=(), repr=False)
    unsigned_allowed: bool = False
    recordings: Recordings = field(default_factory=Recordings)
    patient_pattern: str = r"P[0-9]+"

    def __post_init__(self) -> None:
        if not all(map(str.strip, self.secrets)):
            raise InvalidSettings("WEBHOOK_SECRET: must not be empty or blank")
        try:
            re.compile(self.patient_pattern)
        except re.error as error:
            raise InvalidSettings(f"WEBHOOK_PATIENT_PATTERN: is no regular expression ({error})") from None


@dataclass(frozen=True, slots=True)
class EdgePolicy:
    """All of it. `recording_bytes_max` is the recording store's own bound; the form around a file may have a little more.

    `body_idle_s_max`: how long any body may go without a byte.
    """

    webhook: WebhookPolicy = field(default_factory=WebhookPolicy)
    recording_bytes_max: int = 128_000_000
    body_idle_s_max: float = 15.0
    log_requests: bool = False

    @property
    def bodies(self) -> BodyBounds:
        """For whatever has no bounds of its own."""
        return self._bounds(1024 * _KIB, total_s=30.0)

    @property
    def event_bodies(self) -> BodyBounds:
        """For storage events."""
        return self._bounds(64 * _KIB, total_s=10.0)

    @property
    def upload_bodies(self) -> BodyBounds:
        """For uploads."""
        too_large = str(RecordingTooLarge(self.recording_bytes_max))  # Nearly all of such a body is the file.
        return self._bounds(self.recording_bytes_max + FORM_OVERHEAD_BYTES_MAX, total_s=1800.0, too_large=too_large)

    def _bounds(self, bytes_max: int, *, total_s: float, too_large: str | None = None) -> BodyBounds:
        return BodyBounds(bytes_max, idle_s_max=self.body_idle_s_max, total_s_max=max(total_s, self.body_idle_s_max), too_large=too_large)
