"""How old what was read is."""

from __future__ import annotations

import pytest

from adapters.entrypoints.bench.ledger import Ledger, Seen


@pytest.fixture
def ledger() -> Ledger:
    """Three writes of one session, each a second after the one before."""
    ledger = Ledger()
    for version, content in enumerate("abc", 1):
        ledger.committed("session", version, content, float(version))
    return ledger


def age_s(ledger: Ledger, content: str, began_s: float) -> float:
    ledger.seen.append(Seen("session", content, began_s))
    return ledger.ages_s()[-1]


def test_the_newest_has_no_age(ledger: Ledger) -> None:
    assert age_s(ledger, "c", 100.0) == 0


def test_an_answer_is_as_old_as_the_first_write_that_it_does_not_show(ledger: Ledger) -> None:
    assert age_s(ledger, "b", 3.5) == pytest.approx(0.5)
    assert age_s(ledger, "a", 3.5) == pytest.approx(1.5)


def test_a_read_that_began_before_the_write_is_not_old(ledger: Ledger) -> None:
    assert age_s(ledger, "a", 1.9) == 0


def test_what_nobody_is_known_to_have_written_yet_is_new(ledger: Ledger) -> None:
    assert age_s(ledger, "d", 9.0) == 0


def test_a_writer_that_learns_late_of_its_commit_does_not_make_answers_younger(ledger: Ledger) -> None:
    ledger.committed("session", 5, "e", 6.0)
    ledger.committed("session", 4, "d", 7.0)
    assert age_s(ledger, "c", 8.0) == pytest.approx(2.0)


def test_sessions_are_told_apart(ledger: Ledger) -> None:
    ledger.committed("another", 1, "a", 1.0)
    ledger.seen.append(Seen("another", "a", 100.0))
    assert ledger.ages_s() == [0]


def test_the_newest_is_that_of_the_highest_version(ledger: Ledger) -> None:
    ledger.committed("session", 0, "older", 9.0)
    assert ledger.newest("session") == "c"


def test_a_fresh_read_is_held_to_what_was_promised_before_it(ledger: Ledger) -> None:
    ledger.promised("session", 3, "c", 3.1)
    kept, early, careless, missed = (
        Seen("session", "c", 4.0, fresh=True),
        Seen("session", "b", 3.05, fresh=True),
        Seen("session", "b", 4.0, fresh=False),
        Seen("session", "b", 4.0, fresh=True),
    )
    ledger.seen += [kept, early, careless, missed]
    assert ledger.broken() == [missed]


def test_a_write_that_nobody_was_promised_breaks_no_promise(ledger: Ledger) -> None:
    ledger.seen.append(Seen("session", "a", 9.0, fresh=True))
    assert ledger.broken() == []
