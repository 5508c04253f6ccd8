"""How old what was read is: when each write was committed, and which write each read saw.

An answer is as old as the first commit it does not show, at the moment the read began. A commit is dated when its writer learnt of it, so
later than it was, and a read from before it was asked for: both are to the advantage of who answered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

_NEVER: Final = float("inf")


class Commit(NamedTuple):
    """At this time at the latest the database had this version of a session, with this content."""

    version: int
    content: Hashable
    at_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One read: the content it was answered with, and when it began. `fresh`: it asked to be as new as the last acknowledged write."""

    key: Hashable
    content: Hashable
    began_s: float
    fresh: bool = False


class Ledger:
    """Takes note of commits, of what readers were promised, and of reads. A content is written once."""

    def __init__(self) -> None:
        self._commits: dict[Hashable, list[Commit]] = defaultdict(list)
        self._promised: dict[Hashable, list[Commit]] = defaultdict(list)
        self.seen: list[Seen] = []

    def committed(self, key: Hashable, version: int, content: Hashable, at_s: float) -> None:
        """A write was committed."""
        self._commits[key].append(Commit(version, content, at_s))

    def promised(self, key: Hashable, version: int, content: Hashable, at_s: float) -> None:
        """Its writer was told that every `fresh` read that begins from now on shows it."""
        self._promised[key].append(Commit(version, content, at_s))

    def newest(self, key: Hashable) -> Hashable:
        """The content that the database has now. Raises ValueError if there was no commit."""
        return max(self._commits[key], key=lambda commit: commit.version).content

    def ages_s(self) -> list[float]:
        """How old each answer was, in the order of `seen`; 0 for one that was up to date."""
        superseded = {key: _superseded(commits, commits) for key, commits in self._commits.items()}
        return [_age_s(superseded, read) for read in self.seen]

    def broken(self) -> list[Seen]:
        """The `fresh` reads that did not show what had been promised before they began."""
        superseded = {key: _superseded(commits, self._promised[key]) for key, commits in self._commits.items()}
        return [read for read in self.seen if read.fresh and _age_s(superseded, read) > 0]


def _age_s(superseded: dict[Hashable, dict[Hashable, float]], read: Seen) -> float:
    return max(0.0, read.began_s - superseded[read.key].get(read.content, _NEVER))


def _superseded(commits: Sequence[Commit], by: Sequence[Commit]) -> dict[Hashable, float]:
    """Of each content: when one of a newer version was there. Writers may learn of their commits in another order than was theirs."""
    newer = sorted(by, key=lambda commit: commit.version)
    since: dict[Hashable, float] = {}
    newer_s = _NEVER
    for commit in sorted(commits, key=lambda commit: commit.version, reverse=True):
        while newer and newer[-1].version > commit.version:
            newer_s = min(newer_s, newer.pop().at_s)
        since[commit.content] = newer_s
    return since
