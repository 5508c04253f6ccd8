"""Renews the README's pictures of the dashboard, from recordings that no patient made.

    .venv/bin/python docs/images/renew.py

Needs the system's Chromium. Everything else is as a user has it: `emg-sessions serve` on embedded servers, recordings uploaded, pages
opened.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from adapters.c3d.synthesis import ghostly_file_name, synthesise

HERE = Path(__file__).parent
BYTES_MAX = 150_000
FIRST = datetime(2026, 2, 2, 10, 0, 0, 417_000)  # noqa: DTZ001 - recordings name no time zone
SESSIONS = 5
UNSET = {"DATABASE_URL", "REDIS_URL", "STORAGE", "CACHE", "JWT_SECRET"}


def uploaded(client: httpx.Client, folder: Path) -> str:
    """Sessions of some weeks, analysed; the newest."""
    session = ""
    for week in range(SESSIONS):
        recorded_at = FIRST + timedelta(days=7 * week, minutes=13 * week)
        path = folder / ghostly_file_name(recorded_at)
        synthesise(path, seed=20 + week, duration_s=60.0 + 9.0 * week, unit="V", recorded_at=recorded_at)
        session = client.post("/api/v1/recordings", data={"patient": "P042"}, files={"file": (path.name, path.read_bytes())}).json()[
            "session_id"
        ]
        deadline_s = time.monotonic() + 60
        while client.get(f"/api/v1/sessions/{session}").json()["state"] != "completed":
            if time.monotonic() > deadline_s:
                raise TimeoutError("a recording was not analysed within a minute")
            time.sleep(0.1)
    return session


def picture(page: Page, name: str) -> None:
    """Keeps how the page looks, as WebP of at most BYTES_MAX."""
    page.wait_for_timeout(800)
    image = Image.open(BytesIO(page.screenshot()))
    for quality in range(90, 30, -10):
        image.save(HERE / f"{name}.webp", quality=quality, method=6)
        if (HERE / f"{name}.webp").stat().st_size <= BYTES_MAX:
            break
    print(f"{name}.webp: {image.size}, {(HERE / f'{name}.webp').stat().st_size:,} bytes")


def main() -> None:
    """The whole program."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium found: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="emg-sessions-images-") as name:
        environment = {key: value for key, value in os.environ.items() if key not in UNSET} | {"DATA_DIR": f"{name}/data"}
        command = [Path(sys.executable).with_name("emg-sessions"), "serve", "--port", "0"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as service:
            try:
                address = "" if service.stdout is None else service.stdout.readline().strip()
                with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
                    session = uploaded(client, Path(name))
                pictures(chromium, address, session)
            finally:
                service.terminate()
                service.wait(60)


def pictures(chromium: str, address: str, session: str) -> None:
    """The pictures that the README shows."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1120, "height": 860}, color_scheme="light")
        page.goto(f"{address}/sessions/{session}")
        page.wait_for_selector("[data-drawn]", state="attached")
        picture(page, "session")
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", is_mobile=True, has_touch=True)
        page.goto(f"{address}/sessions/{session}")
        page.wait_for_selector("[data-drawn]", state="attached")
        picture(page, "session-phone")
        browser.close()


if __name__ == "__main__":
    main()
