"""How long a session page takes until its plots are on the screen, in the system's Chromium, warm, with a recording of 175 s.

    .venv/bin/python benchmarks/session_page.py

`emg-sessions serve` runs on embedded servers in a folder of its own. A navigation begins at another page of the dashboard, as a visitor's
does; "plots" is the moment at which all channels are drawn and the browser has had a frame to paint them, after which it answers to keys
and mouse. The page marks it itself (performance.mark). Beside it, in the same run: a page that draws as many points with the same library,
with the data in it and nothing to fetch, which is what the library alone costs.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import BrowserContext, Page, Response, sync_playwright

from adapters.c3d.synthesis import synthesise

NAVIGATIONS, WARM_UP = 20, 5
DURATION_S = 175.0
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
BARE = "/bare-benchmark-page"
BARE_PAGE = """<!doctype html><meta charset="utf-8"><div id="a"></div><div id="b"></div>
<script src="{bokeh}"></script><script src="{api}"></script><script>
const n = 2000, x = Float64Array.from({{length: n}}, (_, i) => i * 175 / n), page = new Bokeh.Document();
for (const channel of [0, 1]) {{
  const figure = Bokeh.Plotting.figure({{height: 260, sizing_mode: "stretch_width", tools: [], toolbar_location: null}});
  for (const kind of [0, 1]) figure.line(x, x.map((t) => Math.sin(t * (3 + kind)) * Math.sin(t * 40)));
  page.add_root(figure);
}}
Bokeh.embed.add_document_standalone(page, a, [a, b]).then(() =>
  requestAnimationFrame(() => setTimeout(() => {{ performance.mark("plots-visible"); document.body.dataset.drawn = "true"; }})));
</script>"""


@contextmanager
def service(folder: Path) -> Iterator[str]:
    """`emg-sessions serve` on servers of its own; its address."""
    program = Path(sys.executable).with_name("emg-sessions")
    unset = {"DATABASE_URL", "REDIS_URL", "STORAGE", "CACHE", "JWT_SECRET"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"DATA_DIR": str(folder)}
    process = subprocess.Popen(
        [program, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield "" if process.stdout is None else process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(60)


def analysed(address: str, folder: Path) -> str:
    """Uploads a recording and waits until it is analysed; its session."""
    path = folder / "a.c3d"
    synthesise(path, seed=7, duration_s=DURATION_S)
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        session: str = client.post("/api/v1/recordings", files={"file": (path.name, path.read_bytes())}).json()["session_id"]
        deadline_s = time.monotonic() + 60
        while client.get(f"/api/v1/sessions/{session}").json()["state"] != "completed":
            if time.monotonic() > deadline_s:
                raise TimeoutError("the recording was not analysed within a minute")
            time.sleep(0.1)
    return session


def navigate(page: Page, address: str, url: str) -> dict[str, float]:
    """Milliseconds since the navigation's begin, by what had happened then."""
    page.goto(f"{address}/patients", wait_until="networkidle")
    page.goto(url, wait_until="commit")
    page.wait_for_selector("[data-drawn]", state="attached", timeout=30_000)
    marks: dict[str, float] = page.evaluate(
        """() => {
          const ended = (part) => Math.max(0, ...performance.getEntriesByType("resource")
            .filter(({name}) => name.includes(part)).map(({responseEnd}) => responseEnd));
          return {
            page: performance.getEntriesByType("navigation")[0].responseEnd,
            signals: ended("/signals/"), analytics: ended("/analytics"), library: ended("bokeh"),
            plots: performance.getEntriesByName("plots-visible")[0].startTime,
          };
        }"""
    )
    return marks


def measured(context: BrowserContext, address: str, url: str) -> dict[str, list[float]]:
    """All navigations' milliseconds, by what had happened."""
    page = context.new_page()
    rows = [navigate(page, address, url) for _ in range(WARM_UP + NAVIGATIONS)][WARM_UP:]
    page.close()
    return {name: sorted(row[name] for row in rows) for name in rows[0]}


def window_sizes(context: BrowserContext, url: str) -> list[int]:
    """Bytes of the bodies of signals, before any compression, that a session page and three zooms of it ask for."""
    sizes: list[int] = []
    page = context.new_page()

    def note(response: Response) -> None:
        if "/signals/" in response.url and response.status == httpx.codes.OK:
            sizes.append(len(response.body()))

    page.on("response", note)
    page.goto(url)
    page.wait_for_selector("[data-drawn]")
    for _ in range(3):
        with page.expect_response(lambda response: "/signals/" in response.url):
            page.get_by_role("button", name="Zoom in").click()
        page.wait_for_timeout(200)
    page.close()
    return sizes


def bare_page(context: BrowserContext, address: str) -> str:
    """The address of a page that the browser is given in place of the service's answer."""
    found: Any = httpx.get(f"{address}/cache", trust_env=False).text
    library = [part.split('"')[0] for part in found.split('src="') if "bokeh" in part.split('"')[0]]
    body = BARE_PAGE.format(bokeh=library[0], api=library[1])
    context.route(f"**{BARE}", lambda route: route.fulfill(body=body, content_type="text/html"))
    return f"{address}{BARE}"


def main() -> None:
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if chromium is None:
        raise SystemExit("no Chromium found: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="emg-sessions-bench-") as name, service(Path(name) / "data") as address:
        session = analysed(address, Path(name))
        with sync_playwright() as playwright:
            profile = Path(name) / "profile"
            context = playwright.chromium.launch_persistent_context(profile, executable_path=chromium, args=list(ARGUMENTS))
            url = f"{address}/sessions/{session}"
            page = measured(context, address, url)
            bare = measured(context, address, bare_page(context, address))
            sizes = window_sizes(context, url)
            context.close()
    print(f"{DURATION_S:g} s, 2 channels, {NAVIGATIONS} navigations, ms after a navigation's begin; load {os.getloadavg()[0]:.1f}")
    print(f"{'':24}{'least':>8}{'median':>8}{'most':>8}")
    for name, times in {**page, "the library alone": bare["plots"]}.items():
        print(f"{name:24}{times[0]:8.0f}{statistics.median(times):8.0f}{times[-1]:8.0f}")
    print(f"windows of signals: {len(sizes)}, the largest {max(sizes):,} bytes uncompressed")


if __name__ == "__main__":
    main()
