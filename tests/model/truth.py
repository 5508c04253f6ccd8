"""PostgreSQL as the protocol sees it: one session's versions, and a change log read by transaction id.

Versions of one session are handed out under its row lock, so they follow the order of commits; transaction ids are handed out when a
transaction begins, so they do not. Contents are named by the true number of writes before them: content 0 is what was there before any.
"""

from __future__ import annotations

from typing import Final, NamedTuple

OPEN: Final = 0


class Truth(NamedTuple):
    """The database."""

    transactions: tuple[int, ...]
    """By transaction id less one: OPEN, or the version it committed."""
    ages: tuple[int, ...]
    """By version less one: ticks since it was committed, counted no further than anybody asks."""

    @property
    def latest(self) -> int:
        """What a reader of the database sees."""
        return len(self.ages)

    def begun(self) -> Truth:
        """After a transaction took its id."""
        return self._replace(transactions=(*self.transactions, OPEN))

    def committed(self, xid: int) -> Truth:
        """After a transaction committed; its change row comes with it."""
        transactions = (*self.transactions[: xid - 1], self.latest + 1, *self.transactions[xid:])
        return Truth(transactions, (*self.ages, 0))

    def committed_before(self, age_ticks: int) -> int:
        """The newest version that is older than this: an answer bounded by it shows this version at least."""
        return sum(age > age_ticks for age in self.ages)

    def xmin(self) -> int:
        """pg_snapshot_xmin: every transaction below it has ended."""
        return next((xid for xid, version in enumerate(self.transactions, 1) if version == OPEN), len(self.transactions) + 1)

    def after_last_seen(self) -> int:
        """The naive position: above the highest transaction id in the log. A lower one may commit later."""
        return max((xid for xid, version in enumerate(self.transactions, 1) if version != OPEN), default=0) + 1

    def newest_change_since(self, xid: int) -> int:
        """max(version) of the changes with this transaction id or a higher one; 0 if there are none."""
        return max(self.transactions[xid - 1 :], default=0)

    def older(self, age_max: int) -> Truth:
        """A tick later."""
        return self._replace(ages=tuple([min(age + 1, age_max) for age in self.ages]))
