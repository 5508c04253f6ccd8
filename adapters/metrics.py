"""What the system counts and measures, for Prometheus. docs/operations.md lists every metric; a test compares.

With PROMETHEUS_MULTIPROC_DIR in the environment the library keeps its values in files there, and any process of a server tells of all:
then `multiprocess` must be given.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from domain.errors import InvalidSettings
from domain.ports import HealthStatus, PartHealth

# From a cached answer to an upload, in seconds; the target of webhooks, 50 ms, is one of the bounds.
_REQUEST_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_ANALYSIS_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)
_KEEP_UP_S: Final = 5.0
_NO_HEARTBEAT: Final = -1.0
_UP: Final[dict[HealthStatus, float]] = {"healthy": 1.0, "degraded": 0.5, "unhealthy": 0.0}


class _Durations(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: list[int], sum_s: float) -> None:
        """So many within each bucket, one after the other, and the sum of all."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(sum_s)


class _Answered:
    """Requests of one kind that the library has not been told of: to tell it of each took a tenth of a cached answer (docs/adr/0009)."""

    def __init__(self, requests: Counter, durations: _Durations) -> None:
        self._requests = requests
        self._durations = durations
        self.counts = [0] * (len(_REQUEST_BUCKETS) + 1)
        self.sum_s = 0.0

    def tell(self) -> None:
        """Tells the library, and begins anew."""
        if count := sum(self.counts):
            self._requests.inc(count)
            self._durations.add(self.counts, self.sum_s)
            self.counts, self.sum_s = [0] * len(self.counts), 0.0


class Metrics:
    """All metrics of this process, in a registry of their own. Requests are counted here, and told to the library when somebody asks."""

    def __init__(self, *, multiprocess: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # They would double the series.
        self._multiprocess = multiprocess
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            "emg_http_requests", "Requests answered, by route and status.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = _Durations(
            "emg_http_request_duration_seconds",
            "Seconds from a request's head to the end of its answer, by route.",
            ["route"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._webhook_events = Counter(
            "emg_webhook_events",
            "Storage events, by what became of them: received, known, remeasured or ignored.",
            ["outcome"],
            registry=registry,
        )
        self._jobs = Counter(
            "emg_jobs", "Attempts at a session that ended, and sessions given up, by outcome.", ["outcome"], registry=registry
        )
        self._analysis_seconds = Histogram(
            "emg_analysis_duration_seconds",
            "Seconds that reading and analysing a recording took.",
            buckets=_ANALYSIS_BUCKETS,
            registry=registry,
        )
        self._cache_events = Counter("emg_cache_events", "What the cache counts, by name.", ["event"], registry=registry)
        self._part_up = Gauge(
            "emg_part_up",
            "How a part does: 1 healthy, 0.5 degraded, 0 unhealthy.",
            ["part"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._breaker_open = Gauge(
            "emg_cache_breaker_open", "1 while Redis is not asked because it failed.", multiprocess_mode="livemax", registry=registry
        )
        self._heartbeat_age_s = Gauge(
            "emg_cache_heartbeat_age_seconds",
            "Age of the cache's heartbeat; -1 without one.",
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self._queue_depth = Gauge(
            "emg_queue_depth", "Sessions that wait for a worker.", multiprocess_mode="livemostrecent", registry=registry
        )
        self._cache_counts: Callable[[], Mapping[str, int]] | None = None
        self._told: Tally[str] = Tally()
        self._keeping_up: asyncio.Task[None] | None = None
        self._server: WSGIServer | None = None
        self._serving: Thread | None = None
        self._heartbeat_age_s.set(_NO_HEARTBEAT)
        self._answered: dict[tuple[str, str, int], _Answered] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is the path's pattern, of which there are few, never the path."""
        key = (method, route, status)
        answered = self._answered.get(key)
        if answered is None:
            series = self._requests.labels(method, route, status), self._request_seconds.labels(route)
            answered = self._answered[key] = _Answered(*series)
        answered.counts[bisect_left(_REQUEST_BUCKETS, seconds)] += 1
        answered.sum_s += seconds

    def storage_event(self, outcome: str) -> None:
        """A storage event was taken."""
        self._webhook_events.labels(outcome).inc()

    def job_ended(self, outcome: str) -> None:
        """A job ended."""
        self._jobs.labels(outcome).inc()

    def analysed(self, seconds: float) -> None:
        """A recording was read and analysed."""
        self._analysis_seconds.observe(seconds)

    def follow(self, cache_counts: Callable[[], Mapping[str, int]]) -> None:
        """What the cache of this process has counted since it began. Names that it did not have before become series of their own."""
        self._cache_counts = cache_counts

    async def open(self) -> None:
        """Whoever tells of this process without asking it sees what its cache counted a few seconds ago."""
        self._keeping_up = asyncio.create_task(self._keep_up(), name="metrics")

    def listen(self, port: int) -> int:
        """Answers Prometheus at every address of this machine, in a thread; for processes that serve nothing else. The port is returned.

        Raises InvalidSettings if another listens there.
        """
        try:
            self._server, self._serving = start_http_server(port, registry=self._told_registry())
        except OSError as error:
            raise InvalidSettings(f"WORKER_METRICS_PORT: {port} cannot be listened at ({error.strerror})") from None
        return self._server.server_port

    async def aclose(self) -> None:
        """Ends what `open` and `listen` began."""
        if self._server is not None and self._serving is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()
            await asyncio.to_thread(self._serving.join)
        if self._keeping_up is not None:
            self._keeping_up.cancel()
            await asyncio.wait([self._keeping_up])
            self._tell()

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_UP_S)
            self._tell()

    def _tell(self) -> None:
        """Tells the library what was only counted here so far."""
        for answered in self._answered.values():
            answered.tell()
        counts = self._cache_counts() if self._cache_counts is not None else {}
        for name, count in counts.items():
            if count > self._told[name]:
                self._cache_events.labels(name).inc(count - self._told[name])
                self._told[name] = count

    def seen(self, parts: Mapping[str, PartHealth]) -> None:
        """How the parts do now."""
        for name, health in parts.items():
            self._part_up.labels(name).set(_UP[health.status])
        facts = parts["cache"].facts if "cache" in parts else {}
        self._breaker_open.set(facts.get("breaker") in {"open", "half_open"})
        age_s = facts.get("heartbeat_age_s")
        self._heartbeat_age_s.set(_NO_HEARTBEAT if age_s is None else float(age_s))
        if "queue" in parts and (depth := parts["queue"].facts.get("depth")) is not None:
            self._queue_depth.set(float(depth))

    def exposition(self) -> tuple[bytes, str]:
        """Everything in Prometheus' text format, and its media type."""
        self._tell()
        return generate_latest(self._told_registry()), CONTENT_TYPE_LATEST

    def _told_registry(self) -> CollectorRegistry:
        """What is told: of this process, or of all that share a folder."""
        if not self._multiprocess:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library types most of itself, not this
        return registry
