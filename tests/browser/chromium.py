"""The browser of the system: found, not downloaded."""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

SETTING: Final = "TEST_BROWSER"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip


def chromium() -> str:
    """The program; without one the tests fail, unless TEST_BROWSER=skip says that they may be skipped."""
    chosen = os.environ.get(SETTING, "")
    if chosen == "skip":
        pytest.skip(f"{SETTING}=skip: the dashboard is not tested in a browser")
    found = shutil.which(chosen) if chosen else next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        looked_for = chosen or ", ".join(NAMES)
        pytest.fail(
            f"no browser found ({looked_for}): install one with `apt-get install chromium`, name one with {SETTING}=/path/to/chrome, "
            f"or leave these tests out with {SETTING}=skip",
            pytrace=False,
        )
    return found
