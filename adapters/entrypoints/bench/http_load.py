"""What asks in the benchmark of HTTP: a process of its own, so that asking takes no time from who answers.

It reads orders, a JSON object a line, and answers each with another: requests a second by status, how many were answered at all, and the
share of a processor that asking took. Every connection sends its next request when its last is answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Final, cast

import uvloop

CONNECTIONS: Final = 32
_WARM_UP_S: Final = 0.1
_FIRST_ANSWERS_S_MAX: Final = 20.0
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


@dataclass(frozen=True, slots=True)
class Order:
    """What to ask, where, for how long; `headers` are whole lines."""

    port: int
    path: str
    headers: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an order. `rates`: requests a second by status."""

    rates: dict[str, float]
    answered: int
    busy_share: float


class Connection(asyncio.Protocol):
    """Asks again whenever it has been answered."""

    def __init__(self, request: bytes, counts: dict[str, int]) -> None:
        self._request = request
        self._counts = counts
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the first time."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Takes part of an answer, or all of it."""
        received = self._received + data if self._received else data
        end = received.find(_HEAD_END)
        if end < 0 or len(received) < end + len(_HEAD_END) + body_bytes(received[:end]):
            self._received = received
            return
        self._received = b""
        status = received[9:12].decode()
        self._counts[status] = self._counts.get(status, 0) + 1
        if self._transport is not None:
            self._transport.write(self._request)


def body_bytes(head: bytes) -> int:
    """How long the body is that follows this head."""
    if head[9:12] == b"304":
        return 0
    at = head.lower().index(_LENGTH) + len(_LENGTH)
    end = head.find(b"\r\n", at)
    return int(head[at : end if end >= 0 else None])


async def ask(order: Order) -> Answered:
    """Carries an order out."""
    request = f"GET {order.path} HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\n{order.headers}\r\n".encode()
    counts: dict[str, int] = {}
    loop = asyncio.get_running_loop()
    made = [(await loop.create_connection(lambda: Connection(request, counts), "127.0.0.1", order.port)) for _ in range(CONNECTIONS)]
    async with asyncio.timeout(_FIRST_ANSWERS_S_MAX):
        while sum(counts.values()) < CONNECTIONS:  # noqa: ASYNC110 - counting must cost nothing more than counting
            await asyncio.sleep(_WARM_UP_S)
    before, begin_s, busy_s = dict(counts), time.perf_counter(), time.process_time()
    await asyncio.sleep(order.seconds)
    took_s = time.perf_counter() - begin_s
    busy_share = (time.process_time() - busy_s) / took_s
    for transport, _ in made:
        transport.abort()
    rates = {status: (count - before.get(status, 0)) / took_s for status, count in counts.items()}
    return Answered(rates, sum(counts.values()), busy_share)


def main() -> None:
    """Until nobody orders any more."""
    for line in sys.stdin:
        answer = uvloop.run(ask(Order(**json.loads(line))))
        sys.stdout.write(json.dumps(asdict(answer)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
