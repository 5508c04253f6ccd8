"""`emg-sessions serve`."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Final

import structlog
import uvicorn

from adapters.entrypoints.console import ExitCode, err, out
from adapters.entrypoints.serving import keep_what_is_there, server_options
from adapters.entrypoints.slow_heads import slow_heads_closed
from adapters.entrypoints.worker import run_worker
from adapters.http.access import is_loopback
from adapters.http.app import create_app
from adapters.http.needs import HttpNeeds, resolved
from adapters.settings import Settings
from container import Container, http_policy
from domain.errors import InvalidSettings, StorageError

_WORKER_PAUSE_S: Final = 5.0


async def command(app: Container, settings: Settings, *, host: str, port: int, with_worker: bool) -> ExitCode:
    """The whole command: serves until SIGINT or SIGTERM, then finishes what it is answering."""
    policy = http_policy(settings)
    if not policy.access.has_keys and not is_loopback(host):
        raise InvalidSettings(
            f"without keys nobody can be told apart, so this machine alone is served, not {host}: "
            "set JWT_SECRET, JWT_JWKS_URL or JWT_JWKS_FILE, or serve 127.0.0.1"
        )

    @asynccontextmanager
    async def open_needs() -> AsyncIterator[HttpNeeds]:
        yield app.http()

    listening = _listening_at(host, port)
    with listening:
        # Opened here before the server does, so that what fails ends in one sentence, not in the server's traceback.
        async with resolved(open_needs), _working(app, wanted=with_worker):
            web = create_app(open_needs, policy)
            server = _Server(_config(web), lambda: _announce(listening, has_keys=policy.access.has_keys), web.state.event_streams.end)
            async with slow_heads_closed(server.server_state.connections, settings.head_s_max):
                await server.serve([listening])
    return ExitCode.OK


@asynccontextmanager
async def _working(app: Container, *, wanted: bool) -> AsyncIterator[None]:
    """A worker beside the server, drained at the end. Like the server it waits for a database that is away."""
    if not wanted:
        yield
        return
    stop = asyncio.Event()

    async def work() -> None:
        while not stop.is_set():
            try:
                await run_worker(app, stop)
            except StorageError as error:
                structlog.get_logger("serve").warning("worker_waits", reason=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - see below
                # Nobody waits for the worker, so what ends it must be told here; and the rest of the server need not end with it.
                structlog.get_logger("serve").error("worker_failed", error=type(error).__name__, exc_info=error)
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if stop.is_set() else _WORKER_PAUSE_S):
                    await stop.wait()

    working = asyncio.create_task(work(), name="worker")
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({working})  # Which WORKER_DRAIN_S bounds.
        working.result()


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens and when it is told to end, and leaves the signal alone: the container still has to close."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], told_to_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self._told_to_end = told_to_end

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._told_to_end()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        keep_what_is_there()
        self._announce()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def _config(app: object) -> uvicorn.Config:
    logger = logging.getLogger("uvicorn.error")
    logger.handlers = [_ServerLog()]
    logger.propagate = False
    return uvicorn.Config(app, **server_options())  # type: ignore[arg-type]  # FastAPI's type of an application is wider than uvicorn's


class _ServerLog(logging.Handler):
    """What the server has to say, without its tracebacks: they quote values."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            structlog.get_logger("server").warning("server_says", message=record.getMessage().partition("\n")[0])


def _listening_at(host: str, port: int) -> socket.socket:
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise InvalidSettings(f"{host}:{port} cannot be listened at ({error.strerror}); choose another with --host and --port") from None
    listening.setblocking(False)
    return listening


def _announce(listening: socket.socket, *, has_keys: bool) -> None:
    host, port = listening.getsockname()[:2]
    out.print(f"http://{f'[{host}]' if ':' in host else host}:{port}", soft_wrap=True, markup=False)
    if not has_keys:
        err.print("[yellow]no keys for bearer tokens are set: this machine alone is answered, and everybody on it may do everything[/]")
