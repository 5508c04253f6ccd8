"""How the server of the API is run: by `emg-sessions serve`, and by the bench for whatever is compared with it."""

from __future__ import annotations

import gc
from typing import Any, Final

import uvloop

from adapters.entrypoints.one_write import OneWriteProtocol

_DRAIN_S: Final = 10
_KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 2048

new_event_loop = uvloop.new_event_loop


def server_options() -> dict[str, Any]:
    """How uvicorn is run."""
    return {
        "http": OneWriteProtocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,  # Its lines hold paths, and paths hold codes of patients.
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": _KEEP_ALIVE_S,
        "timeout_graceful_shutdown": _DRAIN_S,
        "backlog": _BACKLOG,
    }


def keep_what_is_there() -> None:
    """Tells the garbage collector that what is there when the server starts stays: it need not look through it again and again, which took
    a quarter of the time of a cached answer."""
    gc.collect()
    gc.freeze()
