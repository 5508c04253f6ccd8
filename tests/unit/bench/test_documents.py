"""The documents that everybody stores, and who asks for which."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from adapters import document
from adapters.entrypoints.bench.documents import compressed, grown_to, of_session, session_id_of
from adapters.entrypoints.bench.works.readers import chosen
from tests.strategies import some_analytics


@pytest.mark.parametrize("size_bytes", [4_000, 100_000])
def test_a_document_grows_to_the_size_that_is_asked_for_and_is_one(size_bytes: int) -> None:
    grown = grown_to(some_analytics(), size_bytes)
    assert len(compressed(grown)) == pytest.approx(size_bytes, rel=0.05)
    assert document.decode(document.encode_to_store(grown), of="the test") == grown


def test_sessions_of_different_numbers_are_different_and_have_the_same_document() -> None:
    analytics = some_analytics()
    one, other = of_session(analytics, 1), of_session(analytics, 2)
    assert one.session_id == session_id_of(1) != other.session_id
    assert one.channels == other.channels
    assert of_session(analytics, 1, edition=1).content() != one.content() != of_session(analytics, 1, edition=2).content()


def test_by_zipfs_law_the_first_session_is_asked_for_twice_as_often_as_the_second() -> None:
    asked = Counter(number for path in chosen("zipf", range(100, 1100), 50, Random(1)) for number in path)
    assert asked[100] / asked[101] == pytest.approx(2, rel=0.1)
    assert asked[100] / asked[109] == pytest.approx(10, rel=0.2)
    assert set(asked) <= set(range(100, 1100))


def test_readers_ask_for_one_session_or_for_one_each_or_for_any() -> None:
    sessions = range(100, 400)
    assert chosen("one", sessions, 3, Random(1)) == [[100]] * 3
    assert chosen("own", sessions, 3, Random(1)) == [[100], [101], [102]]
    assert {number for path in chosen("uniform", sessions, 3, Random(1)) for number in path} == set(sessions)
