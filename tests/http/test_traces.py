"""One trace from the storage's event to the saved analytics, through the database."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dependency_injector import providers
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.c3d.synthesis import synthesise
from adapters.entrypoints.worker import run_worker
from adapters.traces import OpenTelemetryTraces
from container import resolve
from domain.traces import NoTraces
from tests.http.conftest import MakeSettings
from tests.http.serving import Served, bearer, event_of, served
from tests.patience import eventually


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> OpenTelemetryTraces:
    return OpenTelemetryTraces(SimpleSpanProcessor(exporter))


async def in_one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def processed(service: Served, path: str) -> None:
    """Works until a session is completed."""

    async def state() -> object:
        return (await service.client.get(path, headers=bearer("admin"))).json()["state"]

    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(service.app, stop))
    try:
        await eventually(state, lambda now: now == "completed", within_s=60)
    finally:
        stop.set()
        await working


def tree(spans: tuple[ReadableSpan, ...]) -> dict[str, str | None]:
    """Each span's name, with its parent's."""
    names = {span.context.span_id: span.name for span in spans}
    return {span.name: names[span.parent.span_id] if span.parent else None for span in spans}


async def test_event_job_analysis_and_save_are_one_trace(
    settings_for: MakeSettings, tmp_path: Path, exporter: InMemorySpanExporter, traces: OpenTelemetryTraces
) -> None:
    synthesise(tmp_path / "a.c3d", seed=1, duration_s=2.0)
    async with served(settings_for(cache="none"), traces=providers.Object(traces)) as service:
        store = await resolve(service.app.recording_store)
        await store.put("recordings/P001/a.c3d", in_one_piece((tmp_path / "a.c3d").read_bytes()))
        taken = (await service.tell(event_of())).json()
        await processed(service, taken["session_url"])
    spans = exporter.get_finished_spans()
    assert tree(spans) == {
        "storage event": None,
        "process session": "storage event",
        "analyse recording": "process session",
        "save analytics": "process session",
    }
    assert len({span.context.trace_id for span in spans}) == 1
    told = str([(span.name, dict(span.attributes or {}), span.resource.attributes) for span in spans])
    assert "P001" not in told
    assert "a.c3d" not in told


async def test_an_upload_is_the_beginning_of_its_trace_too(
    settings_for: MakeSettings, tmp_path: Path, exporter: InMemorySpanExporter, traces: OpenTelemetryTraces
) -> None:
    synthesise(tmp_path / "a.c3d", seed=1, duration_s=2.0)
    async with served(settings_for(cache="none"), traces=providers.Object(traces)) as service:
        taken = (await service.upload((tmp_path / "a.c3d").read_bytes())).json()
        await processed(service, taken["session_url"])
    assert tree(exporter.get_finished_spans())["process session"] == "upload"


async def test_a_job_without_a_trace_is_processed_all_the_same(settings_for: MakeSettings, tmp_path: Path) -> None:
    synthesise(tmp_path / "a.c3d", seed=1, duration_s=2.0)
    async with served(settings_for(cache="none")) as service:
        taken = (await service.upload((tmp_path / "a.c3d").read_bytes())).json()
        assert await service.rows("SELECT args ? 'trace' FROM procrastinate_jobs WHERE task_name = 'process_session'") == [(False,)]
        await processed(service, taken["session_url"])
        told = (await service.client.get("/metrics")).text
    assert 'emg_jobs_total{outcome="completed"} 1.0' in told
    assert "emg_analysis_duration_seconds_count 1.0" in told


def test_what_fails_is_told_by_its_kind_alone(exporter: InMemorySpanExporter, traces: OpenTelemetryTraces) -> None:
    with pytest.raises(ValueError, match="P001"), traces.span("job"):
        raise ValueError("P001 cannot be read")
    (span,) = exporter.get_finished_spans()
    assert span.status.description == "ValueError"
    assert not span.events


@pytest.mark.parametrize("text", ["", "nonsense", "00-0-0-0", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\x00"])
def test_a_trace_that_cannot_be_read_begins_a_new_one(exporter: InMemorySpanExporter, traces: OpenTelemetryTraces, text: str) -> None:
    with traces.span("job", within=text):
        assert traces.here() is not None
    (span,) = exporter.get_finished_spans()
    assert span.parent is None


def test_nothing_is_traced_outside_and_for_nobody(traces: OpenTelemetryTraces) -> None:
    assert traces.here() is None
    with NoTraces().span("job", within="whatever", attempt=1):
        assert NoTraces().here() is None


def test_without_a_collector_the_exporter_is_not_imported() -> None:
    program = (
        "import asyncio, sys\n"
        "from adapters.settings import load_settings\n"
        "from container import resolve, running\n"
        "async def main():\n"
        "    async with running(load_settings(storage='memory', cache='none')) as app:\n"
        "        await resolve(app.traces)\n"
        "asyncio.run(main())\n"
        "sys.exit(any(name.startswith('opentelemetry.exporter') for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False, timeout=60).returncode == 0


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(settings_for: MakeSettings, closed_port: int) -> None:
    settings = settings_for(cache="none", otel_exporter_otlp_endpoint=f"http://127.0.0.1:{closed_port}")
    async with served(settings) as service:
        assert (await service.tell(event_of())).status_code == 202


async def test_nobody_who_instruments_the_process_is_told_of_patients(
    service: Served, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    await service.client.get("/api/v1/sessions?patient_code=P001", headers=bearer("admin"))
    await service.client.get("/api/v1/sessions?limit=P001", headers=bearer("admin"))
    assert exporter.get_finished_spans() == ()
