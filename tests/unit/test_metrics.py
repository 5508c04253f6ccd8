"""What the process tells Prometheus of requests is what the library would have counted itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from adapters.metrics import Metrics

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


@given(st.lists(st.one_of(st.sampled_from((0.0, *_BUCKETS)), st.floats(0.0, 100.0, width=32)), max_size=30), st.integers(0, 30))
def test_durations_fall_into_the_librarys_buckets(durations_s: list[float], told_after: int) -> None:
    registry = CollectorRegistry()
    reference = Histogram("emg_http_request_duration_seconds", "", ["route"], buckets=_BUCKETS, registry=registry)
    metrics = Metrics()
    for number, seconds in enumerate(durations_s):
        reference.labels("/health").observe(seconds)
        metrics.answered("GET", "/health", 200, seconds)
        if number == told_after:
            metrics.exposition()
    assert _buckets(metrics.exposition()[0]) == _buckets(generate_latest(registry))


def _buckets(exposition: bytes) -> list[str]:
    return [line for line in exposition.decode().splitlines() if line.startswith("emg_http_request_duration_seconds_bucket")]
