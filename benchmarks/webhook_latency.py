"""The webhook's time to answer while a worker processes recordings at full load on the same processors, beside an empty handler.

    python benchmarks/webhook_latency.py [--events N] [--per-second R] [--json]

The system is as it is run: `emg-sessions serve --no-worker` and `emg-sessions worker` as processes of their own, on embedded servers (or on
those in DATABASE_URL and REDIS_URL). The worker has more recordings than it can finish, and an analysis process for each processor. Events
are sent at a fixed rate, each for a new object, in turn with requests to an empty handler: the smallest ASGI application on the same kind
of server, in the same run, so that it waits for the same busy processors. Times are a client's, from the first byte sent to the last one
received, over kept connections; an answer that comes late does not make the next request later.
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
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
import uvicorn

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adapters.c3d.synthesis import synthesise  # noqa: E402
from adapters.embedded import EmbeddedPostgres, EmbeddedValkey  # noqa: E402
from adapters.entrypoints.bench.ports import free_ports  # noqa: E402
from adapters.http.signature import sign  # noqa: E402
from adapters.settings import load_settings  # noqa: E402
from container import resolve, running, upgrade_schema  # noqa: E402

PROGRAM: Final = Path(sys.executable).with_name("emg-sessions")
SECRET: Final = "a secret of the benchmark"  # noqa: S105 - it guards nothing
PATH: Final = "/webhooks/storage/c3d-upload"
START_S_MAX: Final = 60.0
ANSWER_S_MAX: Final = 10.0
WARM_UP: Final = 50
RECORDING_S: Final = 175.0


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """The smallest handler that reads a body and answers 202."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


def serve_empty(port: int) -> None:
    """Serves the empty handler as `emg-sessions serve` serves ours."""
    uvicorn.run(
        empty, host="127.0.0.1", port=port, http="httptools", loop="uvloop", log_config=None, access_log=False, timeout_keep_alive=75
    )


# The client


class Connection:
    """One kept connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, port: int) -> Connection:
        """A new connection to a port of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> tuple[int, float]:
        """The status of the answer, and its seconds."""
        begin = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self._reader.readexactly(length)
        return int(head[9:12]), time.perf_counter() - begin


def event(number: int, size: int) -> bytes:
    """A storage event, as a request."""
    record = {"id": str(number), "name": f"P001/{number}.c3d", "bucket_id": "events", "metadata": {"eTag": str(number), "size": size}}
    body = json.dumps({"type": "INSERT", "table": "objects", "schema": "storage", "record": record}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}x-supabase-signature: {sign(body, SECRET)}\r\n\r\n".encode() + body


async def measure(ports: dict[str, int], requests: list[bytes], per_second: float) -> dict[str, list[float]]:
    """Seconds of each answer, by what was asked. Both are asked in turn, at the rate given, each on connections of its own."""
    idle: dict[str, list[Connection]] = {name: [] for name in ports}
    seconds: dict[str, list[float]] = {name: [] for name in ports}

    async def ask(name: str, request: bytes) -> None:
        connection = idle[name].pop() if idle[name] else await Connection.to(ports[name])
        status, took_s = await asyncio.wait_for(connection.ask(request), ANSWER_S_MAX)
        if status != 202:
            raise SystemExit(f"{name} answered {status}")
        seconds[name].append(took_s)
        idle[name].append(connection)

    for name, port in ports.items():
        idle[name] = [await Connection.to(port) for _ in range(4)]
    begin = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as asking:
        for number, request in enumerate(requests):
            for turn, name in enumerate(ports):
                due = begin + (number + turn / len(ports)) / per_second
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                asking.create_task(ask(name, request))
    return {name: times[WARM_UP:] for name, times in seconds.items()}


# The processes


@contextmanager
def process(*command: str | Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the context."""
    started = subprocess.Popen(  # noqa: S603 - our own programs
        [str(part) for part in command], env=os.environ | environment, stdout=subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait_for(port: int) -> None:
    """Returns when somebody listens."""
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nobody listens at {port} after {START_S_MAX:g} s")


def lay_out(folder: Path, load: int, events: int) -> int:
    """Puts recordings where the local store has them, each with bytes of its own; the size of one that events name."""
    folder.mkdir(parents=True)
    for name, number, seconds in (("load", load, RECORDING_S), ("events/P001", events, 2.0)):
        synthesise(folder / "a.c3d", seed=1, duration_s=seconds)
        bytes_ = (folder / "a.c3d").read_bytes()
        (folder / name).mkdir(parents=True)
        for i in range(number):
            (folder / name / f"{i}.c3d").write_bytes(bytes_ + f"{name} {i}".encode())  # Behind the data: it is a recording all the same.
    (folder / "a.c3d").unlink()
    os.sync()  # Or the database's first commits wait for these files.
    return len(bytes_)


async def queue_load(load: int) -> None:
    """Announces the recordings that keep the worker busy."""
    async with running() as app:
        intake = await resolve(app.recording_intake)
        for number in range(load):
            await intake.announce(bucket="load", name=f"{number}.c3d", revision="1", size_bytes=None)


async def states() -> dict[str, int]:
    """How many of the load are in which state."""
    async with running() as app:
        engine = await resolve(app.engine)
        async with engine.connect() as connection:
            found = await connection.execute(
                sa.text("SELECT state, count(*) FROM therapy_session WHERE recording_key LIKE 'load/%' GROUP BY state")
            )
            return {str(state): int(number) for state, number in found}


async def upgrade() -> None:
    async with running() as app:
        await upgrade_schema(await resolve(app.engine), load_settings())


def figures(times: list[float]) -> dict[str, float]:
    """Milliseconds."""
    hundredths = statistics.quantiles(times, n=100, method="inclusive")
    return {
        "p50_ms": round(hundredths[49] * 1000, 2),
        "p95_ms": round(hundredths[94] * 1000, 2),
        "p99_ms": round(hundredths[98] * 1000, 2),
        "max_ms": round(max(times) * 1000, 2),
    }


def run(events: int, per_second: float, load: int) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        if not os.environ.get("DATABASE_URL") or not os.environ.get("REDIS_URL"):
            postgres, valkey = EmbeddedPostgres(folder), EmbeddedValkey(folder)
            os.environ |= {"DATABASE_URL": postgres.open(), "REDIS_URL": valkey.open()}
            stack.callback(valkey.close)
            stack.callback(postgres.close)
        processors = len(os.sched_getaffinity(0))
        os.environ |= {"DATA_DIR": str(folder / "data"), "WEBHOOK_SECRET": SECRET}
        asyncio.run(upgrade())
        size = lay_out(folder / "data" / "recordings", load, events)
        requests = [event(number, size) for number in range(events)]
        ports = dict(zip(("webhook", "empty"), free_ports(2), strict=True))
        stack.enter_context(process(PROGRAM, "serve", "--no-worker", "--port", str(ports["webhook"]), environment={}))
        stack.enter_context(process(sys.executable, __file__, "--empty", str(ports["empty"]), environment={}))
        for port in ports.values():
            wait_for(port)
        found: dict[str, Any] = {"idle": told(asyncio.run(measure(ports, requests[: events // 3], per_second)))}
        asyncio.run(queue_load(load))
        busy = {"ANALYSIS_PROCESSES": str(processors), "WORKER_CONCURRENCY": str(processors + 1)}
        stack.enter_context(process(PROGRAM, "worker", environment=busy))
        until_busy()
        before = asyncio.run(states())
        begin = time.monotonic()
        found["busy"] = told(asyncio.run(measure(ports, requests[events // 3 :], per_second)))
        after, took_s = asyncio.run(states()), time.monotonic() - begin
        if not after.get("received"):
            raise SystemExit("the worker ran out of recordings while it was measured; give it more with --load")
        found["recordings_per_s"] = round((after.get("completed", 0) - before.get("completed", 0)) / took_s, 2)
        found["processors"] = processors
        return found


def until_busy() -> None:
    """Returns when the worker has completed its first recording, and so has started all it needs."""
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end:
        if asyncio.run(states()).get("completed", 0) > 1:
            return
        time.sleep(0.2)
    raise SystemExit(f"the worker has completed nothing in {START_S_MAX:g} s")


def told(times: dict[str, list[float]]) -> dict[str, Any]:
    by_name: dict[str, Any] = {name: figures(seconds) for name, seconds in times.items()}
    by_name["p99_ratio"] = round(by_name["webhook"]["p99_ms"] / by_name["empty"]["p99_ms"], 2)
    return by_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1200, help="a third of them before the worker starts")
    parser.add_argument("--per-second", type=float, default=25.0)
    parser.add_argument("--load", type=int, default=200, help="recordings of 175 s that keep the worker busy")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--empty", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.empty:
        serve_empty(given.empty)
        return
    found = run(given.events, given.per_second, given.load)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.per_second:g} events a second on {found['processors']} processors")
    print(f"{found['recordings_per_s']} recordings of {RECORDING_S:g} s analysed a second meanwhile")
    for state in ("idle", "busy"):
        print(f"worker {state}:")
        for name in ("webhook", "empty"):
            shown = "  ".join(f"{figure.removesuffix('_ms')} {ms:7.2f} ms" for figure, ms in found[state][name].items())
            print(f"  {name:8} {shown}")
        print(f"  the webhook's p99 is {found[state]['p99_ratio']:.2f} times the empty handler's")


if __name__ == "__main__":
    main()
