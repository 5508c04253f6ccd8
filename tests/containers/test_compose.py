"""The image is built and the compose file is run as docs/operations.md says: from an upload to its analytics, and to the end of it all."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapters.c3d.synthesis import synthesise
from tests.patience import eventually

pytestmark = pytest.mark.timeout(900)

_ROOT: Final = Path(__file__).parents[2]
_WHAT_IT_MAY: Final = "id -u; id -g; grep CapEff /proc/self/status; touch /here 2>&1; exit 0"
_UPLOADS: Final = 8
_BUILD_S_MAX, _COMMAND_S_MAX, _PATIENCE_S = 600.0, 180.0, 60.0
_IMAGES: Final = {
    name: os.environ.get(f"TEST_{name.upper()}_IMAGE") or official
    for name, official in {"python": "python:3.12-slim", "postgres": "postgres:17", "redis": "redis:7"}.items()
}


def _docker(*arguments: str, within_s: float = _COMMAND_S_MAX) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DOCKER_BUILDKIT": "1"}  # Engines before 23 leave images without a name behind otherwise.
    return subprocess.run(["docker", *arguments], env=environment, capture_output=True, text=True, timeout=within_s, check=False)


def _lacking() -> str | None:
    """Why this cannot be run here; None if it can."""
    if os.environ.get("TEST_SERVERS") == "embedded":
        return "TEST_SERVERS=embedded: no containers are wanted"
    if shutil.which("docker") is None or _docker("info").returncode:
        return "no Docker engine answers"
    if _docker("compose", "version").returncode:
        return "Docker has no compose plugin here"
    for name, image in _IMAGES.items():
        if _docker("image", "inspect", image).returncode:
            return f"the image {image} is not here: docker pull {image}, or name another with TEST_{name.upper()}_IMAGE"
    return None


@dataclass(frozen=True, slots=True)
class System:
    """The composed system under a name of its own."""

    command: tuple[str, ...]

    async def compose(self, *arguments: str, within_s: float = _COMMAND_S_MAX) -> str:
        """What `docker compose` writes; it has to succeed."""
        ended = await asyncio.to_thread(_docker, *self.command, *arguments, within_s=within_s)
        assert ended.returncode == 0, f"docker compose {' '.join(arguments)}: {ended.stderr[-4000:]}"
        return ended.stdout

    async def states(self) -> dict[str, dict[str, Any]]:
        """What compose knows of each service's container."""
        lines = (await self.compose("ps", "--all", "--format", "json")).splitlines()
        return {container["Service"]: container for container in map(json.loads, lines)}

    async def client(self) -> httpx.AsyncClient:
        """An admin's."""
        address = (await self.compose("port", "api", "8000")).strip()
        token = (await self.compose("exec", "-T", "api", "emg-sessions", "token", "--role", "admin", "--subject", "me")).strip()
        return httpx.AsyncClient(base_url=f"http://{address}", headers={"Authorization": f"Bearer {token}"}, timeout=30)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """The system, built from this folder and started; all of it is gone afterwards, volumes too."""
    reason = await asyncio.to_thread(_lacking)
    if reason is not None:
        pytest.skip(reason)
    name = f"emg-sessions-test-{secrets.token_hex(4)}"
    tag = f"{name}:test"
    # What a user has in .env; and what differs where no registry is at hand, with a port that is free.
    environment = {"LISTEN": "127.0.0.1:0", "MVC_SESSION": "0.0003"}
    environment |= {variable: secrets.token_hex(32) for variable in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "JWT_SECRET", "WEBHOOK_SECRET")}
    (tmp_path / ".env").write_text("".join(f"{key}={value}\n" for key, value in environment.items()))
    build = {"context": str(_ROOT), "network": "host", "args": {"PYTHON_IMAGE": _IMAGES["python"]}}
    services: dict[str, Any] = {service: {"image": tag, "build": build} for service in ("migrate", "api", "worker")}
    services |= {"postgres": {"image": _IMAGES["postgres"]}, "redis": {"image": _IMAGES["redis"]}}
    (tmp_path / "override.json").write_text(json.dumps({"services": services}))
    files = ("--file", str(_ROOT / "compose.yaml"), "--file", str(tmp_path / "override.json"))
    system = System(("compose", "--project-name", name, "--project-directory", str(tmp_path), *files))
    try:
        await system.compose("build", "migrate", within_s=_BUILD_S_MAX)  # The others are the same image.
        await system.compose("up", "--detach", "--wait")
        yield system
    finally:
        await system.compose("down", "--volumes", "--timeout", "5")
        await asyncio.to_thread(_docker, "image", "rm", "--force", tag)


async def _uploaded(client: httpx.AsyncClient, content: bytes) -> str:
    answer = await client.post("/api/v1/recordings", data={"patient": "P042"}, files={"file": ("a.c3d", content)})
    assert answer.status_code == 202, answer.text
    session_id: str = answer.json()["session_id"]
    return session_id


async def _session(client: httpx.AsyncClient, session_id: str, holds: Callable[[Any], bool]) -> Any:
    async def ask() -> Any:
        return (await client.get(f"/api/v1/sessions/{session_id}")).json()

    return await eventually(ask, holds, within_s=_PATIENCE_S)


async def test_the_composed_system_analyses_an_upload_runs_as_nobody_in_particular_and_drains(system: System, tmp_path: Path) -> None:
    states = await system.states()
    assert {name: state["Health"] for name, state in states.items() if name != "migrate"} == dict.fromkeys(
        ("postgres", "redis", "api", "worker"), "healthy"
    )
    assert states["migrate"]["ExitCode"] == 0

    for service in ("api", "worker"):
        told = await system.compose(
            "exec", "-T", service, "sh", "-c", "id -u; id -g; grep CapEff /proc/self/status; touch /here 2>&1; exit 0"
        )
        assert told.split()[:4] == ["10001", "10001", "CapEff:", "0000000000000000"], told
        assert "Read-only file system" in told

    async with await system.client() as client:
        assert (await client.get("/api/v1/sessions", headers={"Authorization": ""})).status_code == 401
        assert (await client.get("/health")).json()["status"] == "healthy"
        small = await asyncio.to_thread(synthesise, tmp_path / "small.c3d", seed=1, duration_s=20.0)
        content = await asyncio.to_thread(small.path.read_bytes)
        session_id = await _uploaded(client, content)
        await _session(client, session_id, lambda session: session["state"] == "completed")
        channels = (await client.get(f"/api/v1/sessions/{session_id}/analytics")).json()["channels"]
        assert [(channel["name"], channel["mvc"]["source"]) for channel in channels] == [("CH1", "session"), ("CH2", "session")]
        signals = (await client.get(f"/api/v1/sessions/{session_id}/signals/all")).json()
        assert {signal["channel"] for signal in signals["signals"]} == {"CH1", "CH2"}

        # A worker that is told to stop ends what it is at, and leaves the rest for another.
        session_ids = [await _uploaded(client, content + number.to_bytes(16)) for number in range(_UPLOADS)]
        await system.compose("stop", "worker")
        assert (await system.states())["worker"]["ExitCode"] == 0
        sessions = [(await client.get(f"/api/v1/sessions/{session_id}")).json() for session_id in session_ids]
        assert {session["state"] for session in sessions} <= {"completed", "received"}
        await system.compose("start", "worker")
        for session_id in session_ids:
            await _session(client, session_id, lambda session: session["state"] == "completed")
    await system.compose("stop", "api")
    assert (await system.states())["api"]["ExitCode"] == 0
    assert "ending what runs" in await system.compose("logs", "worker")
