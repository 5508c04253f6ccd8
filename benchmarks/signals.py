"""How long a session page waits for its signals: a recording of 175 s, all channels in one request, by where the answer comes from.

    .venv/bin/python benchmarks/signals.py [channels]

Through the whole application (routing, access, analytics, previews in an embedded Valkey, worker processes), without a network between.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx

from adapters.c3d.reader import C3dRecordingReader
from adapters.c3d.synthesis import synthesise
from adapters.embedded import EmbeddedValkey
from adapters.http.app import create_app
from adapters.http.needs import HttpNeeds
from adapters.reduction import MinMaxReducer
from adapters.settings import load_settings
from container import http_policy, resolve, running
from domain.analytics import AnalysisParameters
from domain.emg.envelope import envelope_as_analysed
from domain.session import SessionId, TherapySession

DURATION_S = 175.0
ROUNDS = 30
QUERY = "kind=raw&kind=envelope&kind=activated"


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    yield await asyncio.to_thread(path.read_bytes)


def parts(path: Path) -> None:
    """What the work in the process consists of."""
    reader, reducer, parameters = C3dRecordingReader(), MinMaxReducer(), AnalysisParameters()
    recording = reader.read(path, parameters)
    raw, rate_hz = recording.channels[0].raw, recording.facts.sampling_rate_hz
    envelope = envelope_as_analysed(raw, rate_hz, parameters)
    for name, work in (
        ("read and decode the whole recording", lambda: reader.read(path, parameters)),
        ("envelope of one channel", lambda: envelope_as_analysed(raw, rate_hz, parameters)),
        ("reduce one signal to 2000 points", lambda: reducer.reduce(envelope, 2000)),
    ):
        took_ms = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            work()
            took_ms.append((time.perf_counter() - began) * 1000)
        show(name, took_ms)


def show(name: str, took_ms: list[float], said: str = "") -> None:
    ordered = sorted(took_ms)
    print(f"{name:44} median {statistics.median(ordered):7.2f} ms   90 % {ordered[int(len(ordered) * 0.9)]:7.2f} ms   {said}")


async def measure(name: str, ask: Callable[[int], Awaitable[httpx.Response]], source: str) -> None:
    took_ms, sizes = [], set()
    for number in range(1, ROUNDS + 1):
        began = time.perf_counter()
        answer = await ask(number)
        took_ms.append((time.perf_counter() - began) * 1000)
        sizes.add(int(answer.headers.get("content-length", 0)))
        if source not in answer.headers["cache-status"]:
            raise RuntimeError(f"expected {source}, got {answer.headers['cache-status']}")
    show(name, took_ms, f"{max(sizes) / 1000:6.1f} kB")


async def main(channels: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        valkey = EmbeddedValkey(Path(folder))
        url = await asyncio.to_thread(valkey.open)
        settings = load_settings(storage="memory", redis_url=url, data_dir=Path(folder), redis_command_timeout_ms=1000)
        names = [f"CH{number}" for number in range(1, channels + 1)]
        path = synthesise(Path(folder) / "Ghostly_Emg_20250310_11-50-16-0578.c3d", seed=1, duration_s=DURATION_S, channels=names).path
        print(f"{DURATION_S:g} s, {channels} channels at 990 Hz, {path.stat().st_size / 1e6:.1f} MB; {ROUNDS} rounds\n")
        await asyncio.to_thread(parts, path)
        print()
        async with running(settings) as app:

            @asynccontextmanager
            async def open_needs() -> AsyncIterator[HttpNeeds]:
                yield app.http()

            http = create_app(open_needs, http_policy(settings))
            store, registry = await resolve(app.recording_store), await resolve(app.session_registry)
            await store.put("a/" + path.name, pieces_of(path))
            session_id = SessionId(uuid4())
            session = TherapySession(session_id, path.name, None, None, None, datetime.now(UTC), recording_key="a/" + path.name)
            await registry.register(session)
            await (await resolve(app.therapy_session_processor)).process_session(session_id)
            transport = httpx.ASGITransport(app=http, client=("127.0.0.1", 5))
            async with http.router.lifespan_context(http), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                at = f"/api/v1/sessions/{session_id}/signals/all?{QUERY}"
                forms = http.state.signal_forms

                async def ask(number: int, *, near: bool = True, accept: str = "*/*", etag: str = "", **changes: str) -> httpx.Response:
                    if not near:
                        forms.forget(session_id)
                    headers = {"Accept-Encoding": changes.get("coding", "identity"), "Accept": accept, "If-None-Match": etag}
                    return await client.get(at + changes.get("more", "").format(number=number), headers=headers)

                await ask(0)
                arrow = "application/vnd.apache.arrow.stream"
                await measure("cold: read in a worker, whole recording", lambda n: ask(n, more="&start_s=0.{number:03}"), "made")
                await measure("cold: windows of some seconds", lambda n: ask(n, more="&start_s=1.{number:03}&end_s=6.{number:03}"), "made")
                await measure("warm: the preview in Redis, as JSON", lambda n: ask(n, near=False), "remembered")
                await measure("warm: the preview in Redis, as Arrow", lambda n: ask(n, near=False, accept=arrow), "remembered")
                await measure("warm: the preview in Redis, JSON in zstd", lambda n: ask(n, near=False, coding="zstd"), "remembered")
                await ask(0)
                await measure("near: JSON made before", ask, "near")
                etag = (await ask(0)).headers["etag"]
                await measure("304", lambda n: ask(n, etag=etag), "held")
        await asyncio.to_thread(valkey.close)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2))
