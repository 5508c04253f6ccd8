"""Counts what the interpreter does, which is the same however busy the machine is."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

OURS: Final = tuple(str(Path(__file__).parents[2] / folder) for folder in ("adapters", "domain", "services"))


class Instructions:
    """Counts the instructions of Python's bytecode that this thread runs meanwhile, in all files or in those of the project alone."""

    def __init__(self, *, ours_only: bool = False) -> None:
        self._ours_only = ours_only
        self.count = 0

    def __enter__(self) -> Instructions:
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename == __file__ or (self._ours_only and not frame.f_code.co_filename.startswith(OURS)):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._ran

    def _ran(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "opcode"
        return self._ran


def run_through(begun: Awaitable[object]) -> object:
    """The result of something that never waits, without an event loop's turn in between."""
    steps = begun.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


def fewest(count: Callable[[], int], times: int = 5) -> int:
    """Of several counts the lowest: what happens now and then (a duration noted, a table grown) is not what a read costs."""
    return min(count() for _ in range(times))
