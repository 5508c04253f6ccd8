"""How often and how soon the processing of a session is tried: the same for every queue."""

from __future__ import annotations

from dataclasses import dataclass

from domain.errors import EmgSessionsError, InvalidSettings, StorageError, may_pass
from domain.ports import SessionProcessing
from domain.session import SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingPolicy:
    """The bounds of processing. After attempt n that failed, the next waits `backoff_s` * 2 ** (n - 1), at most `backoff_s_max`, and of
    that a random part between a half and the whole, so that what failed together does not come back together.

    `drain_s` is how long a worker that is to stop waits for what runs.
    """

    concurrency: int = 2
    attempts_max: int = 5
    backoff_s: float = 2.0
    backoff_s_max: float = 300.0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InvalidSettings(f"WORKER_CONCURRENCY must be at least 1, not {self.concurrency}")
        if self.attempts_max < 1:
            raise InvalidSettings(f"PROCESSING_ATTEMPTS_MAX must be at least 1, not {self.attempts_max}")
        if not 0 < self.backoff_s <= self.backoff_s_max:
            bounds = f"above 0 and at most PROCESSING_BACKOFF_S_MAX = {self.backoff_s_max:g}"
            raise InvalidSettings(f"PROCESSING_BACKOFF_S must be {bounds}, not {self.backoff_s:g}")
        if self.drain_s < 0:
            raise InvalidSettings(f"WORKER_DRAIN_S must be at least 0, not {self.drain_s:g}")

    def wait_s(self, attempts: int, jitter: float) -> float:
        """How long to wait after so many attempts; `jitter` is a random number of [0, 1)."""
        longest = min(self.backoff_s_max, self.backoff_s * 2.0 ** min(attempts - 1, 60))
        return longest * (0.5 + jitter / 2)


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do for this session."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The attempt failed, for a reason that may pass."""

    after_s: float
    error: Exception


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The session failed for good, and was noted so. `error` is None if its workers died without one."""

    failure: str
    error: Exception | None


Outcome = Done | TryAgain | GivenUp


async def attempt(
    processing: SessionProcessing, session_id: SessionId, *, earlier: int, policy: ProcessingPolicy, jitter: float
) -> Outcome:
    """Tries once to process a session that was tried `earlier` times before. Raises nothing but cancellation."""
    attempts, error = earlier, None
    if earlier < policy.attempts_max:
        attempts += 1
        try:
            await processing.process_session(session_id)
        except Exception as failed:  # noqa: BLE001 - whatever goes wrong with one recording, the worker goes on with the others
            error = failed
        else:
            return Done()
        if may_pass(error) and attempts < policy.attempts_max:
            return TryAgain(policy.wait_s(attempts, jitter), error)
    failure = _reason(error, attempts)
    try:
        await processing.give_up(session_id, failure)
    except StorageError as trouble:
        # It cannot even be noted. It is tried until it can, so that no session is left without an end.
        return TryAgain(policy.wait_s(attempts, jitter), trouble)
    return GivenUp(failure, error)


def _reason(error: Exception | None, attempts: int) -> str:
    if error is None:
        return f"the worker died each of the {attempts} times it processed this recording; the file may be damaged"
    # The class only of an unforeseen error: its text may quote what it stumbled over.
    reason = str(error) if isinstance(error, EmgSessionsError) else f"unforeseen {type(error).__name__}"
    return reason if not may_pass(error) or attempts == 1 else f"{reason} (tried {attempts} times)"
