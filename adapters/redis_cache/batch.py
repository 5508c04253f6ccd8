"""Reads that leave together, as one command, and what becomes of its reply."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any, Final, TypeAlias

import hiredis

from adapters.redis_cache.entry import HEADER_BYTES
from adapters.redis_cache.server import Unavailable

NO_REDIS: Final = Unavailable("connection")
"""What answers is none."""

_KEYS_MAX: Final = 256
# Fewer are not worth a second command.
_WORTH_HALVING: Final = 32
_LAST_OF_HEADER: Final = HEADER_BYTES - 1
_BEGIN: Final = b"*1\r\n$5\r\nMULTI\r\n"
_END: Final = b"*1\r\n$4\r\nEXEC\r\n"

Value = tuple[bytes | None, bytes | None]
"""An entry, or its header, and the heartbeat, read at one moment."""
Reading: TypeAlias = "asyncio.Future[Value | Unavailable]"


def header_question(name: str) -> bytes:
    """The command that asks for the header of the entry of this name."""
    return _command("GETRANGE", name, 0, _LAST_OF_HEADER)


class Batch:
    """Reads that leave together, who waits for which: entries by their names, or headers by the commands that ask for them."""

    __slots__ = ("headers_only", "preamble", "waiting")

    def __init__(self, *, headers_only: bool) -> None:
        self.headers_only = headers_only
        self.waiting: dict[str | bytes, list[Reading]] = {}
        self.preamble = 0

    def ask(self, key: str | bytes, future: Reading) -> bool:
        """Somebody waits for this; whether others do already."""
        waiting = self.waiting.get(key)
        if waiting is None:
            self.waiting[key] = [future]
            return False
        waiting.append(future)
        return True

    def split(self, *, halve: bool) -> Batch:
        """Takes what may leave now: so many keys at most."""
        count = len(self.waiting)
        if halve and count >= _WORTH_HALVING:
            count = (count + 1) // 2
        if count == len(self.waiting) <= _KEYS_MAX:
            leaving, self.waiting = self.waiting, {}
        else:
            keys = list(islice(self.waiting, min(_KEYS_MAX, count)))
            leaving = {key: self.waiting.pop(key) for key in keys}
        batch = Batch(headers_only=self.headers_only)
        batch.waiting = leaving
        return batch

    def command(self, heartbeat: str) -> bytes:
        """One atomic exchange, whose last reply is the list of values with the heartbeat at its end."""
        if not self.headers_only:
            return _command("MGET", *self.waiting, heartbeat)
        # The replies to MULTI and to each command it queues come first, and say nothing.
        self.preamble = len(self.waiting) + 2
        return b"".join((_BEGIN, *self.waiting, _command("GET", heartbeat), _END))  # type: ignore[arg-type]  # of headers all keys are bytes

    def tell(self, answer: Unavailable) -> None:
        """The same to everybody."""
        for futures in self.waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(answer)

    def answer(self, reply: list[Any]) -> bool:
        """Hands the values out; False if they are none."""
        if len(reply) != len(self.waiting) + 1:
            return False
        heartbeat = reply[-1]
        if not (heartbeat is None or type(heartbeat) is bytes):
            return False
        understood = True
        for futures, value in zip(self.waiting.values(), reply, strict=False):
            if type(value) is not bytes and value is not None:
                if not isinstance(value, hiredis.ReplyError):
                    understood = False
                value = None  # noqa: PLW2901 - of a key of another type no part can be read, which is how MGET sees it too
            answer = (value, heartbeat)
            for future in futures:
                if not future.done():  # Whoever waited may have been cancelled.
                    future.set_result(answer if understood else NO_REDIS)
        return understood


def _command(*words: str | bytes | int) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub says one word
    return packed
