"""Traces that nobody collects: the default wherever traces may be given."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

from domain.ports import Traces

_NOTHING: Final[AbstractContextManager[None]] = nullcontext()


class NoTraces(Traces):
    """Does nothing."""

    def span(self, name: str, *, within: str | None = None, **facts: str | int | float) -> AbstractContextManager[None]:  # noqa: ARG002
        """See the port."""
        return _NOTHING

    def here(self) -> str | None:
        """See the port."""
        return None
