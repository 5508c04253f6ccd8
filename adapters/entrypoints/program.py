"""How this program was called, for messages that name a command to run."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Final

_NAME: Final = "emg-sessions"
_COMMANDS: Final = "process|show|demo|serve|token|worker|bench|db|cache"
_COMMAND: Final = re.compile(rf"(?<![\w/.'-]){_NAME}(?= (?:{_COMMANDS})\b)")


@cache
def program() -> str:
    """What to type for this program here: its name if that leads to it, else its path, below the working folder without the folder."""
    called = Path(sys.argv[0])
    if called.name != _NAME or not called.exists():
        return _NAME
    found = shutil.which(_NAME)
    if found is not None and Path(found).samefile(called):
        return _NAME
    path, here = called.absolute(), Path.cwd()  # Not resolved: it is to be recognised.
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def as_called(message: str) -> str:
    """A message whose commands can be run as they stand."""
    return _COMMAND.sub(lambda _: program(), message)
