"""The health pages and the metrics, with parts that are well, away and frozen."""

from __future__ import annotations

import pytest

from container import resolve, running
from tests.http.conftest import MakeSettings
from tests.http.serving import Served, bearer, event_of, problem_of, served
from tests.patience import eventually
from tests.servers import OwnRedis, OwnServer

BOUNDS = {"staleness_bound_s", "ttl_hours", "near_entries", "near_entries_max", "near_bytes"}
COUNTS = {
    "near_hits", "hits", "absent_hits", "followed", "coalesced", "misses", "bypasses", "stale_answers", "fills", "bytes_stored",
    "invalidations", "invalidations_lost",
}  # fmt: skip


async def health(service: Served) -> dict[str, dict[str, object]]:
    """What /health says; always 200."""
    response = await service.client.get("/health")
    assert response.status_code == 200
    document = response.json()
    parts: dict[str, dict[str, object]] = document["parts"] | {"": {"status": document["status"]}}
    return parts


def statuses(parts: dict[str, dict[str, object]]) -> dict[str, object]:
    return {name or "all": part["status"] for name, part in parts.items()}


async def test_all_is_well(settings_for: MakeSettings) -> None:
    async with served(settings_for()) as service:
        parts = await eventually(lambda: health(service), lambda parts: parts[""]["status"] == "healthy")
        assert statuses(parts) == {"all": "healthy", "database": "healthy", "cache": "healthy", "queue": "healthy", "recordings": "healthy"}
        assert all(part.get("since") is None and part.get("reason") is None for part in parts.values())
        facts = parts["cache"]["facts"]
        assert isinstance(facts, dict)
        assert set(facts) == {"server", "breaker", "heartbeat_age_s", "round_trip_ms", "hit_rate"} | BOUNDS | COUNTS
        assert facts["breaker"] == "closed"
        assert (await service.client.get("/health/ready")).status_code == 200
        assert (await service.client.get("/health/live")).status_code == 200


async def test_the_queues_depth_is_told(service: Served) -> None:
    for number in range(3):
        await service.tell(event_of(f"P001/{number}.c3d"))
    parts = await eventually(lambda: health(service), lambda parts: parts["queue"]["facts"] == {"depth": 3})
    assert set(parts) == {"", "database", "queue", "recordings"}, "without a cache there is none to watch"


async def test_a_redis_that_went_away_is_told_and_since_when_and_the_service_stays_ready(
    settings_for: MakeSettings, own_redis: OwnRedis
) -> None:
    settings = settings_for(redis_url=own_redis.url, redis_command_timeout_ms=200)
    async with served(settings) as service:
        await eventually(lambda: health(service), lambda parts: parts[""]["status"] == "healthy")
        own_redis.kill()
        parts = await eventually(lambda: health(service), lambda parts: parts["cache"]["status"] == "unhealthy")
        assert parts[""]["status"] == "degraded"
        assert parts["cache"]["since"]
        assert parts["cache"]["reason"]
        assert parts["database"]["status"] == "healthy"
        assert (await service.client.get("/health/ready")).status_code == 200
        later = await eventually(lambda: health(service), lambda parts: parts["cache"]["status"] == "unhealthy")
        assert later["cache"]["since"] == parts["cache"]["since"]


async def test_a_database_that_is_away_makes_it_unready(settings_for: MakeSettings, closed_port: int) -> None:
    async with served(settings_for(cache="none", database_url=f"postgresql://u:p@127.0.0.1:{closed_port}/d")) as service:
        parts = await health(service)
        assert statuses(parts) == {"all": "degraded", "database": "unhealthy", "queue": "unhealthy", "recordings": "healthy"}
        assert "u:p" not in str(parts)
        response = await service.client.get("/health/ready")
        assert problem_of(response, 503) == "not-ready"
        assert response.headers["retry-after"]
        assert (await service.client.get("/health/live")).status_code == 200


async def test_a_database_that_hangs_does_not_make_the_health_page_hang(settings_for: MakeSettings, own_postgres: OwnServer) -> None:
    settings = settings_for(cache="none", database_url=own_postgres.url, database_statement_timeout_s=60)
    async with served(settings) as service:
        own_postgres.stop()
        try:
            parts = await health(service)
            assert statuses(parts) == {"all": "degraded", "database": "unhealthy", "queue": "unhealthy", "recordings": "healthy"}
            assert problem_of(await service.client.get("/health/ready"), 503) == "not-ready"
        finally:
            own_postgres.cont()


async def test_without_its_schema_it_is_not_ready_and_says_what_to_run(settings_for: MakeSettings, own_postgres: OwnServer) -> None:
    async with served(settings_for(cache="none", database_url=own_postgres.url)) as service:
        response = await service.client.get("/health/ready")
        assert problem_of(response, 503) == "not-ready"
        assert "emg-sessions db upgrade" in response.json()["detail"]


async def test_while_a_newer_version_is_rolled_out_it_stays_ready(service: Served, settings_for: MakeSettings) -> None:
    async with running(settings_for()) as app:
        engine = await resolve(app.engine)
        async with engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    parts = await health(service)
    assert parts["database"]["status"] == "degraded"
    assert (await service.client.get("/health/ready")).status_code == 200


# Metrics.


async def metrics(service: Served) -> dict[str, float]:
    """Every series and its value."""
    response = await service.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    lines = [line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


async def test_what_happened_is_counted_by_route_and_never_by_path(service: Served) -> None:
    await service.tell(event_of())
    await service.tell(event_of())
    await service.tell(event_of(kind="DELETE"))
    await service.tell(event_of(), secret="wrong")
    await service.client.get("/api/v1/sessions/6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10", headers=bearer("admin"))
    await service.client.get("/wp-login.php?P001")
    told = await metrics(service)
    route = 'method="POST",route="/webhooks/storage/c3d-upload"'
    assert told[f'emg_http_requests_total{{{route},status="202"}}'] == 1
    assert told[f'emg_http_requests_total{{{route},status="200"}}'] == 2
    assert told[f'emg_http_requests_total{{{route},status="401"}}'] == 1
    assert told['emg_http_request_duration_seconds_count{route="/webhooks/storage/c3d-upload"}'] == 4
    assert told['emg_http_requests_total{method="GET",route="/api/v1/sessions/{session_id}",status="404"}'] == 1
    assert told['emg_http_requests_total{method="GET",route="none",status="404"}'] == 1
    assert {told[f'emg_webhook_events_total{{outcome="{outcome}"}}'] for outcome in ("received", "known", "ignored")} == {1}
    assert told["emg_queue_depth"] == 1
    assert told['emg_part_up{part="database"}'] == 1
    assert "6f1c1c3e" not in str(told)
    assert "wp-login" not in str(told)


async def test_what_the_cache_counts_is_among_the_metrics(settings_for: MakeSettings) -> None:
    async with served(settings_for()) as service:
        repository = await resolve(service.app.session_analytics)
        taken = (await service.tell(event_of())).json()
        await service.client.get(taken["session_url"], headers=bearer("admin"))
        told = await eventually(lambda: metrics(service), lambda told: told.get("emg_cache_heartbeat_age_seconds", -1) >= 0)
        counted = {name: count for name, count in (await resolve(service.app.cache)).stats.counts().items() if count}
        assert repository is await resolve(service.app.cache)
        assert counted
        assert {name: told[f'emg_cache_events_total{{event="{name}"}}'] for name in counted} == counted
        assert told["emg_cache_breaker_open"] == 0


# Every answer.


@pytest.mark.parametrize("path", ["/health", "/health/live", "/metrics", "/nowhere", "/api/v1/sessions", "/openapi.json"])
async def test_every_answer_has_an_id_and_the_security_headers(service: Served, path: str) -> None:
    response = await service.client.get(path, headers={"x-request-id": "the-proxys-id-1"})
    assert response.headers["x-request-id"] == "the-proxys-id-1"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert (await service.client.get(path)).headers["x-request-id"] != "the-proxys-id-1"
