"""What a load felt over time."""

from __future__ import annotations

import pytest

from adapters.entrypoints.bench.open_loop import Call
from adapters.entrypoints.bench.timeline import Bucket, buckets, full_speed_after_s, quantile, quantile_ms


def read(due_s: float, took_s: float = 0.001, source: str = "near", error: str = "") -> Call:
    return Call("read", due_s, took_s, source, error)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_a_quantile_is_the_value_that_so_many_are_not_above(share: float, expected: int) -> None:
    assert quantile(list(range(100, 0, -1)), share) == expected


def test_nothing_has_no_quantile() -> None:
    assert quantile([], 0.5) is None
    assert quantile_ms([], 0.99) is None


def test_quantiles_of_calls_are_in_milliseconds() -> None:
    assert quantile_ms([read(0, 0.002), read(0, 0.004), read(0, 0.003)], 0.5) == pytest.approx(3)


def test_reads_are_put_where_they_were_due_and_answers_where_they_came() -> None:
    calls = [read(10.1, 0.05), read(10.15, 0.3, "postgres"), read(10.4, 0.01)]
    first, second, third = buckets(calls, begin_s=10.0, end_s=10.6, bucket_s=0.2)
    assert [bucket.at_s for bucket in (first, second, third)] == pytest.approx([0.0, 0.2, 0.4])
    assert (first.answered_per_s, second.answered_per_s, third.answered_per_s) == pytest.approx((5, 0, 10))
    assert (first.hits_share, second.hits_share, third.hits_share) == (0.5, 0.0, 1.0)
    assert first.longest_ms == pytest.approx(300)
    assert second.longest_ms is None


def test_writes_are_answered_and_have_no_part_in_the_latency_of_reads() -> None:
    (bucket,) = buckets([Call("write", 0.0, 0.1), read(0.0)], begin_s=0.0, end_s=0.2, bucket_s=0.2)
    assert bucket.answered_per_s == pytest.approx(10)
    assert bucket.longest_ms == pytest.approx(1)


def test_what_was_raised_is_an_error_and_no_answer() -> None:
    (bucket,) = buckets([read(0.0, error="TimeoutError"), read(0.1)], begin_s=0.0, end_s=0.2, bucket_s=0.2)
    assert bucket.errors == 1
    assert bucket.answered_per_s == pytest.approx(5)


def test_what_happens_before_and_after_is_left_out() -> None:
    assert buckets([read(-0.5), read(5.0)], begin_s=0.0, end_s=0.2, bucket_s=0.2)[0].answered_per_s == 0


def timeline(*levels: tuple[float, float]) -> list[Bucket]:
    return [Bucket(place * 0.2, answered, 0, hits, None, None) for place, (answered, hits) in enumerate(levels)]


USUAL, GONE, SLOW, COLD = (1000.0, 1.0), (0.0, 0.0), (500.0, 1.0), (1000.0, 0.3)


def test_full_speed_is_when_throughput_and_hits_are_as_before() -> None:
    found = timeline(USUAL, USUAL, USUAL, GONE, GONE, SLOW, COLD, USUAL, USUAL)
    assert full_speed_after_s(found, usual_until_s=0.6, back_s=1.0) == pytest.approx(0.6)


def test_full_speed_at_once_takes_no_longer_than_a_bucket() -> None:
    found = timeline(USUAL, USUAL, GONE, USUAL, USUAL)
    assert full_speed_after_s(found, usual_until_s=0.4, back_s=0.6) == pytest.approx(0.2)


def test_nine_tenths_are_full_speed() -> None:
    found = timeline(USUAL, USUAL, GONE, (890.0, 1.0), (910.0, 0.91))
    assert full_speed_after_s(found, usual_until_s=0.4, back_s=0.6) == pytest.approx(0.4)


def test_full_speed_may_never_come() -> None:
    assert full_speed_after_s(timeline(USUAL, USUAL, GONE, GONE, SLOW), usual_until_s=0.4, back_s=0.6) is None
