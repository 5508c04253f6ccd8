"""Logs: events on standard error, one line each. No patient data and no addresses with passwords ever go into one.

So an error that is logged is told by its class and by the places that it came through: its text may quote a file's name, and what a
traceback shows of its frames may be anything.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from itertools import islice
from typing import Any, Final

import structlog

_PLACES_MAX: Final = 12
_CAUSES_MAX: Final = 6


def configure_logs(level: str, log_format: str) -> None:
    """Sends structlog's events to standard error: coloured text for a terminal, else JSON, unless the format is given."""
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            places_alone,
            structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def places_alone(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor: of an error in `exc_info` only classes and places are left, as `raised`, its causes after it."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["raised"] = [_places(each) for each in islice(_chain(error), _CAUSES_MAX)]
    return event


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _places(error: BaseException) -> str:
    """The class, and where it was raised and passed: the innermost place first."""
    frames = [f"{frame.f_globals.get('__name__', '?')}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)]
    return " ".join([type(error).__name__, *reversed(frames[-_PLACES_MAX:])])
