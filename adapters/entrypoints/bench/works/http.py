"""GET …/analytics served warm, beside the same route as others write it, and beside a handler that does nothing.

All servers are up at once, each a process of its own; the load comes from another process, over kept connections, each of which sends its
next request when its last is answered. Where others keep the machine busy, the processor time of the server a request says more than its
throughput.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from typing import Final

import jwt
import psutil

from adapters.entrypoints.bench.documents import of_session
from adapters.entrypoints.bench.figures import Asked, Configured, Findings, Row, Spread, Table
from adapters.entrypoints.bench.http_load import CONNECTIONS, Answered, Order
from adapters.entrypoints.bench.http_servers import PATH, Served
from adapters.entrypoints.bench.stage import Stage
from adapters.settings import load_settings
from container import resolve, running
from domain.errors import EmgSessionsError
from domain.session import SessionId, TherapySession

_START_S_MAX: Final = 60.0
_STOP_S_MAX: Final = 20.0
_POLL_S: Final = 0.05
_TURN_S_MIN: Final = 0.3
_THERAPIST: Final = "the-therapist"
_PATIENT: Final = "P001"
_ACCEPT: Final = "Accept: */*\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nUser-Agent: bench\r\n"
_BUSY_MAX: Final = 0.9
_NUMBER: Final = 0

BARE: Final = "bare ASGI handler"
OURS: Final = "Emg-Sessions"
TOKEN: Final = "Emg-Sessions, bearer token"  # noqa: S105 - a name
UNCHANGED: Final = "Emg-Sessions, unchanged (304)"
UNCACHED: Final = "FastAPI + SQLAlchemy"
GRANIAN: Final = "Emg-Sessions, granian"
BARE_GRANIAN: Final = "bare ASGI handler, granian"
FASTAPI_CACHE: Final = "FastAPI + fastapi-cache2"

CONFIGURED: Final = (
    Configured(BARE, "the same constant bytes with the same headers, on the same server: the limit", "https://asgi.readthedocs.io/"),
    Configured(UNCACHED, "an ORM session a request, the document from PostgreSQL", "https://fastapi.tiangolo.com/tutorial/sql-databases/"),
    Configured(
        FASTAPI_CACHE, "@cache(expire=86400) on that route, RedisBackend, JsonCoder", "https://github.com/long2ice/fastapi-cache#usage"
    ),
)


class NotMeasured(EmgSessionsError):
    """A server did not do what was to be measured."""


@dataclass
class Server:
    """One that is measured, and what it did in each round."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    headers: str = ""
    status: str = "200"
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    port: int = 0
    process: psutil.Process | None = None

    def busy_s(self) -> float:
        """The processor time that its processes took so far."""
        assert self.process is not None  # noqa: S101 - it runs while it is measured
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts it, and ends it."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            env={**os.environ, **self.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.process = psutil.Process(process.pid)
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            try:
                async with asyncio.timeout(_START_S_MAX):
                    address = (await process.stdout.readline()).decode()
            except TimeoutError:
                address = ""
            if not address.startswith("http://"):
                raise NotMeasured(f"the server of {self.name!r} did not start within {_START_S_MAX:g} s")
            self.port = int(address.rpartition(":")[2])
            await self._listens()
            yield
        finally:
            await _end(process)

    async def _listens(self) -> None:
        """Granian tells its address before it listens there."""
        end_s = time.monotonic() + _START_S_MAX
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                if time.monotonic() > end_s:
                    raise NotMeasured(f"the server of {self.name!r} did not listen within {_START_S_MAX:g} s") from None
                await asyncio.sleep(_POLL_S)
            else:
                writer.close()
                return


class Load:
    """The process that asks."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.busiest = 0.0

    async def ask(self, order: Order) -> Answered:
        """Has an order carried out."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018 - they were asked for
        self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        await self._process.stdin.drain()
        async with asyncio.timeout(order.seconds + _START_S_MAX):
            answered = Answered(**json.loads(await self._process.stdout.readline()))
        self.busiest = max(self.busiest, answered.busy_share)
        return answered

    async def measure(self, server: Server, path: str, seconds: float) -> tuple[float, float]:
        """Requests a second, and µs of processor time of the server a request."""
        busy_s = server.busy_s()
        answered = await self.ask(Order(server.port, path, _ACCEPT + server.headers, seconds))
        if answered.rates.keys() != {server.status}:
            found = ", ".join(answered.rates) or "nothing"
            raise NotMeasured(f"the server of {server.name!r} answered with {found} instead of {server.status}")
        return answered.rates[server.status], (server.busy_s() - busy_s) / answered.answered * 1e6


@asynccontextmanager
async def open_load() -> AsyncIterator[Load]:
    """Starts it, and ends it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "adapters.entrypoints.bench.http_load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Load(process)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_S_MAX):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()


async def http(stage: Stage) -> Findings:
    """Throughput of the route, by who serves it."""
    stage = stage.with_prefix("http")
    environment = {
        "DATABASE_URL": stage.place.database_url,
        "REDIS_URL": stage.place.redis_url,
        "REDIS_KEY_PREFIX": stage.place.key_prefix,
    }
    session_id = await _prepare(stage)
    path = PATH.format(session_id=session_id)
    secret = secrets.token_hex(32)
    token = jwt.encode({"sub": _THERAPIST, "role": "therapist", "exp": time.time() + 3600}, secret, "HS256")
    serve = (sys.executable, "-c", "from adapters.entrypoints.cli import main; main()", "serve", "--port", "0", "--no-worker")
    peer = (sys.executable, "-m", "adapters.entrypoints.bench.http_servers")
    served = partial(Served, database_url=stage.place.database_url, redis_url=stage.place.redis_url, key_prefix=stage.place.key_prefix)
    async with AsyncExitStack() as stack:
        environment["DATA_DIR"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="emg-bench-"))
        ours = Server(OURS, serve, environment)
        with_token = Server(TOKEN, serve, {**environment, "JWT_SECRET": secret}, headers=f"Authorization: Bearer {token}\r\n")
        uncached = Server(UNCACHED, peer, served("uncached").as_environment())
        fastapi_cache = Server(FASTAPI_CACHE, peer, served("fastapi-cache2").as_environment())
        stage.progress.at(0.0, "starting servers")
        await asyncio.gather(*(stack.enter_async_context(server.running()) for server in (ours, with_token, uncached, fastapi_cache)))
        body, headers = await asyncio.to_thread(answer_of, ours.port, path)
        bare = Server(BARE, peer, served("bare", body=body.hex(), headers=tuple(headers.items())).as_environment())
        await stack.enter_async_context(bare.running())
        unchanged = Server(UNCHANGED, (), {}, f"If-None-Match: {headers['etag']}\r\n", "304", port=ours.port, process=ours.process)
        servers = [bare, ours, with_token, unchanged, uncached, fastapi_cache]
        if stage.pace.thorough:
            # The other server that was looked at (docs/adr/0009): the same applications on it.
            ours_too, bare_too = served("ours"), served("bare", body=body.hex(), headers=tuple(headers.items()))
            servers += [
                Server(GRANIAN, peer, environment | replace(ours_too, server="granian").as_environment()),
                Server(BARE_GRANIAN, peer, replace(bare_too, server="granian").as_environment()),
            ]
            for server in servers[-2:]:
                await stack.enter_async_context(server.running())
        load = await stack.enter_async_context(open_load())
        for server in servers:  # Warm.
            await load.measure(server, path, _seconds(stage))
        rounds = stage.pace.many_rounds
        for number in range(rounds):
            stage.progress.at(0.2 + 0.8 * number / rounds, f"round {number + 1} of {rounds}")
            for server in servers:
                rate, cpu_us = await load.measure(server, path, _seconds(stage))
                server.rates.append(rate)
                server.cpu_us.append(cpu_us)
    return _found(servers, len(body), load.busiest)


def _seconds(stage: Stage) -> float:
    return max(_TURN_S_MIN, 4 * stage.pace.turn_s)


async def _prepare(stage: Stage) -> SessionId:
    """A session with its analytics, its patient, and their therapist."""
    analytics = of_session(stage.documents.recorded, _NUMBER)
    settings = load_settings(
        database_url=stage.place.database_url, redis_url=stage.place.redis_url, redis_key_prefix=stage.place.key_prefix
    )
    async with running(settings) as app:
        facts = analytics.recording
        session = TherapySession(
            analytics.session_id, facts.file_name, facts.sha256, facts.size_bytes, facts.recorded_at, datetime.now(UTC), _PATIENT
        )
        await (await resolve(app.session_registry)).register(session)
        await (await resolve(app.patient_assignments)).assign(_PATIENT, _THERAPIST)
        await (await resolve(app.session_analytics)).save(analytics)
    return analytics.session_id


def answer_of(port: int, path: str) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of an answer from the process's own copies; without the date, which every server adds."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_STOP_S_MAX)
    wanted = dict(line.split(": ", 1) for line in _ACCEPT.splitlines())
    for _ in range(2):
        connection.request("GET", path, headers=wanted)
        answer = connection.getresponse()
        body = answer.read()
    connection.close()
    return body, {name.lower(): value for name, value in answer.getheaders() if name.lower() != "date"}


def _found(servers: Sequence[Server], body_bytes: int, busiest: float) -> Findings:
    bare, ours, with_token, _, uncached, *_ = servers

    def beside(one: Server, other: Server, times: float = 1.0) -> list[float]:
        return [times * ours / theirs for ours, theirs in zip(one.rates, other.rates, strict=True)]

    notes = [f"{CONNECTIONS} connections; the body has {body_bytes} bytes, compressed where the server does so."]
    if busiest > _BUSY_MAX:
        notes.append(f"The process that asks was busy for {busiest:.0%} of the time at most: what is fastest may have been faster.")
    return Findings(
        tables=(
            Table(
                "http",
                "GET …/analytics, warm",
                "requests/s",
                less_is_better=False,
                reference=BARE,
                rows=tuple(Row(server.name, Spread.of(server.rates), Spread.of(beside(server, bare))) for server in servers),
                notes=tuple(notes),
            ),
            Table(
                "http_cpu",
                "GET …/analytics, warm: processor time of the server",
                "µs/request",
                less_is_better=True,
                reference=None,
                rows=tuple(Row(server.name, Spread.of(server.cpu_us)) for server in servers),
            ),
        ),
        asked=(
            Asked.at_least("requests a second, beside a bare ASGI handler", 50, beside(ours, bare, 100), "%"),
            Asked.at_least("requests a second with a bearer token, beside a bare ASGI handler", 40, beside(with_token, bare, 100), "%"),
            Asked.at_least("requests a second, beside FastAPI + SQLAlchemy", 5, beside(ours, uncached), "times"),
        ),
        peers=CONFIGURED,
    )
