"""Stops a server whose last user was killed: a small process beside each server, which ends with it.

Whoever is killed cannot stop what he started, and no signal on a parent's death would do: a server is shared, and may have other users than
the one who started it. The locks tell whether it has any, so the process does now and then what everybody may do: close a hold that it
never had. Where it cannot run, the server stays for the next user, who finds it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.embedded.machine import spawn
from domain.errors import EmgSessionsError

if TYPE_CHECKING:
    from adapters.embedded.server import EmbeddedServer

_BETWEEN_LOOKS_S: Final = 1.0
_PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv[1]); from adapters.embedded.watch import watch; watch(*sys.argv[2:])"


def start_watch(server: EmbeddedServer, data_dir: Path, pid: int) -> None:
    """Starts the process for a server that runs as `pid`."""
    command = [sys.executable, "-c", _PROGRAM, str(Path(__file__).parents[2]), type(server).__name__, str(data_dir), str(pid)]
    # OSError: as another user than it was installed by, Python may be out of reach.
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        watching = spawn(command, nowhere, None)
        # As with the server: somebody must collect it.
        threading.Thread(target=watching.wait, name=f"watch of {pid}", daemon=True).start()


def watch(kind: str, data_dir: str, pid: str) -> None:
    """The whole process."""
    import psutil  # noqa: PLC0415 - of an optional extra

    from adapters import embedded  # noqa: PLC0415 - it imports this module

    server: EmbeddedServer = getattr(embedded, kind)(Path(data_dir))
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(pid))
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            # Otherwise it does not want to end, or somebody starts or stops it for long: it is looked at again.
            with suppress(EmgSessionsError):
                server.close()
            time.sleep(_BETWEEN_LOOKS_S)
