"""The console script. It imports nothing at first: what it needs takes a moment, in which Ctrl-C may come."""

from __future__ import annotations

import gc
import sys
from typing import Final

_INTERRUPTED: Final = 130  # As ExitCode has it.


def main() -> None:
    """Runs the command, however early it is interrupted."""
    # Nothing of what is imported is garbage, and looking for some took a third of a short command's time. console.run ends this.
    gc.disable()
    try:
        from adapters.entrypoints import cli  # noqa: PLC0415 - see above

        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(_INTERRUPTED)
