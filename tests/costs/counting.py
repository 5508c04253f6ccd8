"""Counts what the interpreter does, which is the same however busy the machine is."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

OURS: Final = tuple(str(Path(__file__).parents[2] / folder) for folder in ("adapters", "domain", "services"))
_TOOL: Final = 4  # One of those that sys.monitoring leaves free.


class Instructions:
    """Counts the instructions of Python's bytecode that this thread runs meanwhile, in all files or in those of the project alone."""

    def __init__(self, *, ours_only: bool = False) -> None:
        self._ours_only = ours_only
        self.count = 0

    def __enter__(self) -> Instructions:
        if sys.version_info >= (3, 12):
            sys.monitoring.use_tool_id(_TOOL, "costs")
            sys.monitoring.register_callback(_TOOL, sys.monitoring.events.INSTRUCTION, self._instruction)
            sys.monitoring.set_events(_TOOL, sys.monitoring.events.INSTRUCTION)
        else:
            sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(_TOOL, 0)
            sys.monitoring.register_callback(_TOOL, sys.monitoring.events.INSTRUCTION, None)
            sys.monitoring.free_tool_id(_TOOL)
        else:
            sys.settrace(None)

    def _counts(self, code: CodeType) -> bool:
        return code.co_filename != __file__ and (not self._ours_only or code.co_filename.startswith(OURS))

    def _instruction(self, code: CodeType, _offset: int) -> None:
        self.count += self._counts(code)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self._counts(frame.f_code):
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
