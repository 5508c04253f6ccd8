"""What was written and what was read, by whichever process, and whether the cache kept its promises in it.

All times are of CLOCK_MONOTONIC, which the processes of a machine share. A commit is dated when its writer knew of it, so later than it
was; an answer is dated from before it was asked for. Both are to the cache's advantage, so whatever is found is a violation.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, assert_never

from domain.ports import Freshness

# Redis counts milliseconds, and its clock may be slewed.
_CLOCKS_S: Final = 0.02
_SHOWN_AROUND_S: Final = 1.5
_SHOWN_MAX: Final = 40
_VIOLATIONS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Committed:
    """At this time at the latest the truth had this version, and this content in it."""

    key: str
    version: int
    content: int
    at_s: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A write's receipt said `fresh`."""

    key: str
    version: int
    began_s: float
    at_s: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A read. Version 0: there was nothing."""

    key: str
    version: int
    content: int
    began_s: float
    at_s: float
    freshness: str
    source: str
    at_least: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """Between these times Redis became an earlier one."""

    began_s: float
    at_s: float


Event = Committed | Acknowledged | Answered | Lost
_KINDS: Final[dict[str, type[Event]]] = {kind.__name__: kind for kind in (Committed, Acknowledged, Answered, Lost)}


@dataclass(frozen=True, slots=True)
class Violation:
    """An answer that should have been another."""

    answer: Answered
    promise: str


def now_s() -> float:
    """The time of all events."""
    return time.monotonic()


@dataclass(slots=True)
class History:
    """Events, in whatever order they were noted; with a path, each is in the file at once, so that it survives a SIGKILL."""

    path: Path | None = None
    events: list[Event] = field(default_factory=list)

    def note(self, event: Event) -> None:
        """Adds an event."""
        self.events.append(event)
        if self.path is not None:
            line = json.dumps({"kind": type(event).__name__, **asdict(event)}) + "\n"
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)

    def add_from(self, path: Path) -> None:
        """Adds the events another process noted in a file."""
        for line in path.read_text().splitlines() if path.exists() else []:
            values = json.loads(line)
            self.events.append(_KINDS[values.pop("kind")](**values))

    def answers(self) -> list[Answered]:
        """All reads."""
        return [event for event in self.events if isinstance(event, Answered)]

    def sources(self) -> set[str]:
        """Who answered at all."""
        return {answer.source for answer in self.answers()}

    def violations(self, *, bound_s: float, near_trust_s: float) -> list[Violation]:
        """Answers that broke a promise, oldest first."""
        losses = [event for event in self.events if isinstance(event, Lost)]
        commits: dict[str, list[Committed]] = {}
        acknowledgements: dict[str, list[Acknowledged]] = {}
        contents: dict[tuple[str, int], int] = {}
        for event in self.events:
            if isinstance(event, Committed):
                commits.setdefault(event.key, []).append(event)
                contents[event.key, event.version] = event.content
            elif isinstance(event, Acknowledged):
                acknowledgements.setdefault(event.key, []).append(event)
        found = []
        for answer in sorted(self.answers(), key=lambda answer: answer.began_s):
            fresh = answer.freshness == Freshness.FRESH.value
            allowed_s = bound_s + (0 if fresh else near_trust_s) + _CLOCKS_S
            due = [commit for commit in commits.get(answer.key, ()) if commit.at_s < answer.began_s - allowed_s]
            oldest = max(due, key=lambda commit: commit.version, default=None)
            if oldest is not None and answer.version < oldest.version:
                age_s = answer.began_s - oldest.at_s
                found.append(Violation(answer, f"G3: {oldest} was {age_s:.3f} s old when the read began; {allowed_s:.3f} s are allowed"))
            for write in acknowledgements.get(answer.key, ()) if fresh else ():
                age_s = answer.began_s - write.at_s
                if write.version > answer.version and age_s >= 0 and not _lost_between(losses, write, answer):
                    found.append(Violation(answer, f"G1: {write} was acknowledged {age_s:.3f} s before the read began"))
                    break
            if answer.version < answer.at_least:
                found.append(Violation(answer, f"G4: at least version {answer.at_least} was asked for"))
            content = contents.get((answer.key, answer.version), answer.content)
            if content != answer.content:
                found.append(Violation(answer, f"version {answer.version} has the content {content}"))
        return found

    def check(self, *, bound_s: float, near_trust_s: float) -> None:
        """Fails with what happened around each violation."""
        found = self.violations(bound_s=bound_s, near_trust_s=near_trust_s)
        shown = "\n\n".join(self.told(violation) for violation in found[:_VIOLATIONS_SHOWN])
        assert not found, f"{len(found)} of {len(self.answers())} answers broke a promise\n{shown}"

    def told(self, violation: Violation) -> str:
        """The violation and what happened to its key around it, in seconds from the beginning of the read."""
        answer = violation.answer
        lines: list[Event] = []
        for event in sorted(self.events, key=lambda event: event.at_s):
            is_told = isinstance(event, Committed | Lost) or abs(event.at_s - answer.began_s) < _SHOWN_AROUND_S
            if event is answer or isinstance(event, Lost) or (event.key == answer.key and is_told):
                lines.append(event)
        place = lines.index(answer)
        around = lines[max(0, place - _SHOWN_MAX) : place + _SHOWN_MAX // 4]
        return "\n".join(
            [f"{violation.promise}\n  broken by {answer}"]
            + [f"  {'>' if event is answer else ' '} {event.at_s - answer.began_s:+8.3f} s  {_line(event)}" for event in around]
        )


def _line(event: Event) -> str:
    match event:
        case Committed(version=version, content=content, by=by):
            return f"version {version} ({content}) was committed by {by}"
        case Acknowledged(version=version, by=by):
            return f"version {version} was acknowledged as fresh to {by}"
        case Answered(version=version, content=content, freshness=freshness, source=source, by=by):
            took_s = event.at_s - event.began_s
            return f"version {version} ({content}) was read in {took_s:.3f} s by {by}, {freshness}, from {source}"
        case Lost():
            return f"Redis had become an earlier one, from {event.began_s - event.at_s:+.3f} s on"
        case _:
            assert_never(event)


def _lost_between(losses: list[Lost], write: Acknowledged, answer: Answered) -> bool:
    """Whether the Redis that acknowledged the write may be another than the one that was read."""
    return any(loss.began_s <= answer.at_s and loss.at_s >= write.began_s for loss in losses)
