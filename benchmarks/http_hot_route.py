"""GET …/analytics served warm, beside its peers, in one run on real servers: embedded ones, or those in DATABASE_URL and REDIS_URL.

    python benchmarks/http_hot_route.py [--rounds N] [--seconds S] [--json] [--recording FILE]

All servers are up at once, each a process of its own; the load comes from another process, over kept connections, each of which sends its
next request when its last is answered. Rounds take turns, so that whatever else the machine does weighs on all; each figure compares two
servers within every round, and is the median of these comparisons, with the least and the most. Ratios matter; absolute throughput on a
shared machine does not. Where others keep the machine busy, the processor time of the server a request says more than its throughput.

- bare: the smallest ASGI application: the same constant bytes with the same headers, on the same server
- starlette, fastapi: one route with these bytes, nothing else
- emg-sessions: ours as it is served, every middleware on; with a token: a therapist's, whose patient's session it is; unchanged: 304
- uncached: the route as FastAPI and SQLAlchemy have it in their tutorials: an ORM session a request, the document from PostgreSQL
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

import psutil

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CONNECTIONS: Final = 32
START_S_MAX: Final = 60.0
WARM_UP_S: Final = 0.3
SECRET: Final = "a secret of the benchmark, of thirty-two bytes and more"  # noqa: S105 - it guards nothing
THERAPIST: Final = "the-therapist"
PATIENT: Final = "P001"
ACCEPT: Final = "Accept: */*\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nUser-Agent: benchmark\r\n"


# The load


class Connection(asyncio.Protocol):
    """Asks again whenever it has been answered."""

    def __init__(self, request: bytes, counts: dict[int, int]) -> None:
        self._request = request
        self._counts = counts
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0 or len(received) < end + 4 + self._length(received[:end]):
            self._received = received
            return
        self._received = b""
        status = int(received[9:12])
        self._counts[status] = self._counts.get(status, 0) + 1
        if self._transport is not None:
            self._transport.write(self._request)

    @staticmethod
    def _length(head: bytes) -> int:
        if head[9:12] == b"304":
            return 0
        at = head.lower().index(b"content-length:") + len(b"content-length:")
        end = head.find(b"\r\n", at)
        return int(head[at : end if end >= 0 else None])


async def load(port: int, path: str, headers: str, seconds: float) -> dict[str, Any]:
    """Requests a second, by status, and the share of a processor that asking took."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{ACCEPT}{headers}\r\n".encode()
    counts: dict[int, int] = {}
    loop = asyncio.get_running_loop()
    transports = [(await loop.create_connection(lambda: Connection(request, counts), "127.0.0.1", port))[0] for _ in range(CONNECTIONS)]
    await asyncio.sleep(WARM_UP_S)
    before, begin, busy = dict(counts), time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - begin
    for transport in transports:
        transport.abort()
    rates = {status: (count - before.get(status, 0)) / took for status, count in counts.items()}
    return {"rates": rates, "answered": sum(counts.values()), "busy": (time.process_time() - busy) / took}


# The servers


def create() -> Any:
    """The application that EMG_BENCH_APP names, for granian, which imports it by name."""
    wanted = json.loads(os.environ["EMG_BENCH_APP"])
    body, headers = bytes.fromhex(wanted["body"]), wanted["headers"]
    if wanted["app"] == "ours":
        from adapters.entrypoints import asgi

        return asgi.create()
    from benchmarks import http_peers

    match wanted["app"]:
        case "bare":
            return http_peers.bare(body, [(name.encode(), value.encode()) for name, value in headers.items()])
        case "few":
            return http_peers.bare(body, [(name.encode(), value.encode()) for name, value in wanted["few"].items()])
        case "starlette":
            return http_peers.constant_starlette(body, headers)
        case "fastapi":
            return http_peers.constant_fastapi(body, headers)
        case "uncached":
            return http_peers.uncached(os.environ["DATABASE_URL"])
        case unknown:
            raise SystemExit(f"there is no application {unknown!r}")


def serve(server: str, port: int) -> None:
    """Runs one server, in a process of its own."""
    if server == "granian":
        from granian import Granian
        from granian.constants import Interfaces, Loops

        Granian(
            "benchmarks.http_hot_route:create", factory=True, interface=Interfaces.ASGI, address="127.0.0.1", port=port, workers=1,
            loop=Loops.uvloop, log_enabled=False,
        ).serve()  # fmt: skip
        return
    import uvicorn

    from adapters.entrypoints.serve import keep_what_is_there, server_options

    app = create()
    keep_what_is_there()
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", **server_options())


@dataclass
class Server:
    """One that is measured, and what it did in each round."""

    name: str
    app: str
    server: str = "uvicorn"
    environment: dict[str, str] = field(default_factory=dict)
    headers: str = ""
    status: int = 200
    port: int = 0

    def __post_init__(self) -> None:
        self.rates: list[float] = []
        self.cpu_us: list[float] = []
        self.process: psutil.Process | None = None

    def busy_s(self) -> float:
        """The processor time that its processes took so far."""
        assert self.process is not None
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return sum(each.user + each.system for each in times)


@contextmanager
def running(server: Server, environment: dict[str, str], constant: dict[str, Any]) -> Iterator[None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), "--serve", server.server, str(server.port)],
        cwd=ROOT,
        env={
            **os.environ,
            **environment,
            **server.environment,
            "EMG_BENCH_APP": json.dumps({**constant, "app": server.app}),
            "PYTHONPATH": ".",
        },
    )
    server.process = psutil.Process(process.pid)
    try:
        wait_for(server.port, process)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"a server ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("a server did not start")


# The run


async def prepare(database_url: str, redis_url: str, prefix: str, recording: Path | None) -> tuple[UUID, bytes]:
    """A session with its analytics, its patient and their therapist; its id and its document as it is cached."""
    from adapters.c3d.reader import C3dRecordingReader
    from adapters.c3d.synthesis import synthesise
    from adapters.settings import load_settings
    from container import resolve
    from container import running as container_running
    from domain.analytics import AnalysisParameters
    from domain.emg.analysis import analyse
    from domain.session import TherapySession

    with tempfile.TemporaryDirectory() as folder:
        path = recording or Path(folder) / "synthetic.c3d"
        if recording is None:
            synthesise(path, seed=1)
        parameters = AnalysisParameters()
        analytics = analyse(C3dRecordingReader().read(path, parameters), parameters, processed_at=datetime.now(UTC))
    settings = load_settings(database_url=database_url, redis_url=redis_url, redis_key_prefix=prefix)
    async with container_running(settings) as app:
        from adapters.postgres import migrations

        await migrations.upgrade(await resolve(app.engine))
        facts = analytics.recording
        registry = await resolve(app.session_registry)
        await registry.forget(analytics.session_id)
        await registry.register(
            TherapySession(
                analytics.session_id, facts.file_name, facts.sha256, facts.size_bytes, facts.recorded_at, datetime.now(UTC), PATIENT
            )
        )
        await (await resolve(app.patient_assignments)).assign(PATIENT, THERAPIST)
        repository = await resolve(app.session_analytics)
        await repository.save(analytics)
        document = await repository.get_document(analytics.session_id)
    assert document is not None
    return analytics.session_id, document.body


def measured(server: Server, path: str, seconds: float) -> tuple[float, float]:
    """Requests a second, and µs of processor time of the server a request."""
    busy_s = server.busy_s()
    command = [sys.executable, str(Path(__file__)), "--load", str(server.port), path, server.headers, str(seconds)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rates: dict[int, float] = {int(status): rate for status, rate in answer["rates"].items()}
    if rates.keys() != {server.status}:
        raise SystemExit(f"{server.name} answered {rates}")
    if answer["busy"] > 0.9:
        print(f"the load generator was busy for {answer['busy']:.0%} while it asked {server.name}", file=sys.stderr)
    return rates[server.status], (server.busy_s() - busy_s) / answer["answered"] * 1e6


def against(one: Server, other: Server) -> dict[str, float]:
    ratios = [a / b for a, b in zip(one.rates, other.rates, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def compare(database_url: str, redis_url: str, rounds: int, seconds: float, recording: Path | None) -> dict[str, Any]:
    import jwt

    prefix = f"bench_{os.getpid()}"
    session_id, body = asyncio.run(prepare(database_url, redis_url, prefix, recording))
    path = f"/api/v1/sessions/{session_id}/analytics"
    etag = f'"{session_id.hex}.1.zstd"'
    few = {"content-type": "application/json", "content-encoding": "zstd", "etag": etag, "content-length": str(len(body))}
    # What is the same in every response of ours; servers take half a microsecond for each header.
    ours_too = {
        "cache-control": "private, no-cache",
        "vary": "Accept-Encoding, Authorization",
        "emg-analytics-version": "1",
        "cache-status": "emg-sessions; hit; detail=near",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "age": "0",
        "x-request-id": "0123456789abcdef-1234567",
    }
    constant = {"body": body.hex(), "headers": few | ours_too, "few": few}
    token = jwt.encode({"sub": THERAPIST, "role": "therapist", "exp": time.time() + 3600}, SECRET, "HS256")
    bearer = f"Authorization: Bearer {token}\r\n"
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "REDIS_KEY_PREFIX": prefix}
    keys = {"JWT_SECRET": SECRET}
    ours: dict[str, Server] = {}
    bares: dict[str, Server] = {}
    servers: list[Server] = []
    for kind in ("uvicorn", "granian"):
        bares[kind] = Server(f"bare, {kind}", "bare", kind)
        ours[kind] = Server(f"emg-sessions, {kind}", "ours", kind)
        ours[f"{kind} token"] = Server(f"emg-sessions with a token, {kind}", "ours", kind, keys, bearer)
        servers += [bares[kind], ours[kind], ours[f"{kind} token"]]
    unchanged = Server("emg-sessions, unchanged (304), uvicorn", "ours", "uvicorn", {}, f"If-None-Match: {etag}\r\n", 304)
    starlette, fastapi = Server("starlette, uvicorn", "starlette"), Server("fastapi, uvicorn", "fastapi")
    plain, few_headers = Server("uncached, uvicorn", "uncached"), Server("bare with four headers, uvicorn", "few")
    servers += [unchanged, starlette, fastapi, plain, few_headers]
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(running(server, environment, constant))
        for server in servers:  # Warm.
            measured(server, path, 1.0)
        for _ in range(rounds):
            for server in servers:
                rate, cpu_us = measured(server, path, seconds)
                server.rates.append(rate)
                server.cpu_us.append(cpu_us)
    return {
        "document_bytes": len(body),
        "requests_per_s": {server.name: round(statistics.median(server.rates)) for server in servers},
        "server_cpu_us": {server.name: round(statistics.median(server.cpu_us), 1) for server in servers},
        "ratios": {
            **{f"{server.name} / bare": against(server, bares[server.server]) for server in [*ours.values(), unchanged]},
            "emg-sessions, uvicorn / bare with four headers": against(ours["uvicorn"], few_headers),
            "emg-sessions with a token, uvicorn / bare with four headers": against(ours["uvicorn token"], few_headers),
            "starlette / bare": against(starlette, bares["uvicorn"]),
            "fastapi / bare": against(fastapi, bares["uvicorn"]),
            "emg-sessions / uncached": against(ours["uvicorn"], plain),
            "granian / uvicorn, emg-sessions": against(ours["granian"], ours["uvicorn"]),
            "granian / uvicorn, bare": against(bares["granian"], bares["uvicorn"]),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--recording", type=Path)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve[0], int(given.serve[1]))
        return
    if given.load:
        import uvloop

        port, path, headers, seconds = given.load
        print(json.dumps(uvloop.run(load(int(port), path, headers, float(seconds)))))
        return
    with ExitStack() as stack:
        urls = [os.environ.get(name) for name in ("DATABASE_URL", "REDIS_URL")]
        if not all(urls):
            from adapters.embedded import EmbeddedPostgres, EmbeddedValkey

            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            postgres, valkey = EmbeddedPostgres(folder), EmbeddedValkey(folder)
            urls = [postgres.open(), valkey.open()]
            stack.callback(valkey.close)
            stack.callback(postgres.close)
        found = compare(str(urls[0]), str(urls[1]), given.rounds, given.seconds, given.recording)
    if given.json:
        print(json.dumps(found))
        return
    print(f"a document of {found['document_bytes']} bytes as it is stored; {CONNECTIONS} connections, {given.rounds} rounds")
    for name, rate in found["requests_per_s"].items():
        print(f"{rate:>8,} requests/s, {found['server_cpu_us'][name]:>7.1f} µs of the server's processor each  {name}")
    for name, ratio in found["ratios"].items():
        print(f"{ratio['median']:>8.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})  {name}")


if __name__ == "__main__":
    main()
