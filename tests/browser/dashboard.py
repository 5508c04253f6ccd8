"""The dashboard as tests use it: `emg-sessions serve` as people start it, and pages whose every misstep is noted."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from playwright.async_api import ConsoleMessage, Locator, Page, Request, Response

from adapters.c3d.synthesis import synthesise
from tests.patience import eventually

ROOT: Final = Path(__file__).parents[2]
ARTEFACTS: Final = ROOT / "test-artifacts"
WIDTHS: Final = {"phone": 390, "tablet": 820, "desktop": 1280}
_OF_SERVERS: Final = {"DATABASE_URL", "REDIS_URL", "STORAGE", "CACHE", "JWT_SECRET", "RECORDINGS_URL"}

# What an unsuccessful request writes to the console is no misstep of the page: it shows a sentence instead.
_OF_REQUESTS: Final = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")


@asynccontextmanager
async def served(data_dir: Path, *arguments: str, **settings: str) -> AsyncIterator[str]:
    """`emg-sessions serve` on embedded servers in a folder; its address."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_SERVERS}
    program = Path(sys.executable).with_name("emg-sessions")
    process = await asyncio.create_subprocess_exec(
        program, "serve", "--port", "0", *arguments,
        env=environment | {"DATA_DIR": str(data_dir), "ANALYSIS_PROCESSES": "1"} | settings, cwd=data_dir.parent,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
        assert address.startswith("http://127.0.0.1:"), "the service did not begin"
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 60)


def synthetic(folder: Path, seed: int, **choices: Any) -> bytes:
    """A recording that no patient made."""
    path = folder / "synthetic.c3d"
    synthesise(path, seed=seed, **choices)
    return path.read_bytes()


@dataclass
class Dashboard:
    """A running dashboard, and a way past it."""

    address: str

    async def uploaded(self, recording: bytes, patient: str, name: str = "a.c3d") -> str:
        """Uploads a recording; its session."""
        async with self._client() as client:
            answer = await client.post("/api/v1/recordings", data={"patient": patient}, files={"file": (name, recording)})
            session: str = answer.json()["session_id"]
            return session

    async def analysed(self, recording: bytes, patient: str, name: str = "a.c3d") -> str:
        """Uploads a recording and waits until it is analysed; its session."""
        session = await self.uploaded(recording, patient, name)
        async with self._client() as client:

            async def state() -> str:
                found: str = (await client.get(f"/api/v1/sessions/{session}")).json()["state"]
                return found

            await eventually(state, lambda now: now == "completed", within_s=60)
        return session

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.address, timeout=30, trust_env=False)


@dataclass
class Watched:
    """A page, and what it did that a good page does not."""

    page: Page
    address: str
    missteps: list[str] = field(default_factory=list)
    signal_answers: list[Response] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.missteps.append(f"error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("response", lambda answer: self.signal_answers.append(answer) if "/signals/" in answer.url else None)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _OF_REQUESTS.match(message.text):
            self.missteps.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.address}/", "data:", "blob:")):
            self.missteps.append(f"asked {request.url}")

    async def open(self, path: str, *, drawn: bool = False) -> Page:
        """Goes to a page, and waits until it is there; `drawn`: with its plots."""
        await self.page.goto(f"{self.address}{path}")
        await self.page.wait_for_selector("main h1")
        if drawn:
            await self.page.wait_for_selector("[data-drawn]", state="attached")
        return self.page

    async def picture(self, name: str) -> None:
        """Keeps how the page looks, for people."""
        ARTEFACTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)


async def distinct_colours(plot: Locator) -> int:
    """How many colours a plot's canvas shows; a blank one shows one."""
    shown: int = await plot.evaluate(
        """(place) => {
          const inside = (root) => [...root.querySelectorAll("*")].flatMap((one) =>
            one instanceof HTMLCanvasElement ? [one] : one.shadowRoot ? inside(one.shadowRoot) : []);
          const colours = new Set();
          for (const canvas of inside(place).filter(({width, height}) => width > 100 && height > 100)) {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            for (let at = 0; at < data.length; at += 4 * 7) colours.add(`${data[at]},${data[at + 1]},${data[at + 2]},${data[at + 3] >> 5}`);
          }
          return colours.size;
        }"""
    )
    return shown


async def overflow_px(page: Page) -> int:
    """By how much a page is wider than its window."""
    wider: int = await page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wider


async def faint_texts(page: Page) -> list[Any]:
    """The texts whose contrast to what is behind them is below WCAG's AA: 4.5, or 3 for large ones."""
    found: list[Any] = await page.evaluate(
        """() => {
          const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
          const rgba = (colour) => {
            canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
            return canvas.getImageData(0, 0, 1, 1).data;
          };
          const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
            .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
          const ground = (one) => {
            for (let at = one; at; at = at.parentElement) {
              const colour = rgba(getComputedStyle(at).backgroundColor);
              if (colour[3] === 255) return colour;
            }
            return rgba(getComputedStyle(document.documentElement).colorScheme === "dark" ? "black" : "white");
          };
          const faint = [];
          for (const one of document.querySelectorAll("body *")) {
            const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
            if (!own || !one.checkVisibility()) continue;
            const style = getComputedStyle(one);
            const [first, second] = [light(rgba(style.color)), light(ground(one))].sort((a, b) => b - a);
            const contrast = (first + 0.05) / (second + 0.05);
            if (contrast < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) faint.push([one.textContent.trim().slice(0, 40), contrast]);
          }
          return faint;
        }"""
    )
    return found


def shown(page: Page) -> Locator:
    """What is seen of a page: its texts are told to screen readers once more, beside it."""
    return page.get_by_role("main")
