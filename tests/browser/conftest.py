"""One service and one browser for all tests of a worker; a context and a page for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from adapters.c3d.synthesis import ghostly_file_name
from tests.browser.chromium import ARGUMENTS, chromium
from tests.browser.dashboard import WIDTHS, Dashboard, Watched, served, synthetic

PATIENT = "P042"


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium."""
    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def data_dir(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service keeps everything. Asks for the browser, so that without one nothing is begun."""
    return tmp_path_factory.mktemp("dashboard") / "data"


@pytest.fixture(scope="session")
async def dashboard(data_dir: Path) -> AsyncIterator[Dashboard]:
    """The dashboard as `emg-sessions serve` brings it, with its worker, on servers of its own."""
    async with served(data_dir) as address:
        yield Dashboard(address)


@pytest.fixture(scope="session")
async def session(dashboard: Dashboard, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An analysed session of P042, of 30 s; the second of two."""
    folder = tmp_path_factory.mktemp("recordings")
    made = ""
    for seed, recorded_at in enumerate((datetime(2026, 3, 2, 10, 0, 0, 417_000), datetime(2026, 3, 9, 10, 11, 0, 417_000))):  # noqa: DTZ001
        recording = synthetic(folder, seed, duration_s=30.0, recorded_at=recorded_at)
        made = await dashboard.analysed(recording, PATIENT, ghostly_file_name(recorded_at))
    return made


@pytest.fixture
async def context(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[BrowserContext]:
    """A visitor. By parameter: at which width, in which colours."""
    width, colours = getattr(request, "param", ("desktop", "light"))
    phone = width == "phone"
    context = await browser.new_context(
        viewport={"width": WIDTHS[width], "height": 844},
        color_scheme="dark" if colours == "dark" else "light",
        has_touch=phone,
        is_mobile=phone,
    )
    context.set_default_timeout(20_000)
    yield context
    await context.close()


@pytest.fixture
async def visit(context: BrowserContext, dashboard: Dashboard) -> AsyncIterator[Watched]:
    """A page. At the end it must have written no error, and asked nobody but our server."""
    watched = Watched(await context.new_page(), dashboard.address)
    yield watched
    assert watched.missteps == []
