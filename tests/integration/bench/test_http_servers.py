"""The servers of the benchmark of HTTP answer alike, and are measured."""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx
import pytest

from adapters import document
from adapters.entrypoints.bench.documents import of_session, session_id_of
from adapters.entrypoints.bench.http_servers import PATH, Served, bare, create
from adapters.entrypoints.bench.stage import Stage
from adapters.entrypoints.bench.works.http import Server, answer_of, open_load

HEADERS = (("content-type", "application/json"), ("content-length", "2"), ("etag", '"x"'))


async def asked(app: Any, path: str, times: int = 1) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench") as client:
        for _ in range(times):
            answer = await client.get(path)
    return answer


async def test_peers_answer_with_the_stored_document(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(app: str) -> Any:
        served = Served(app, stage.place.database_url, stage.place.redis_url, stage.place.key_prefix)
        for name, value in served.as_environment().items():
            monkeypatch.setenv(name, value)
        return create()

    await stage.truth.fill(stage.documents.recorded, [1])
    expected = json.loads(document.encode(of_session(stage.documents.recorded, 1)))
    path = PATH.format(session_id=session_id_of(1))
    assert (await asked(made("uncached"), path)).json() == expected
    with_cache = made("fastapi-cache2")
    async with with_cache.router.lifespan_context(with_cache):
        answer = await asked(with_cache, path, times=2)
    assert answer.json() == expected
    assert answer.headers["x-fastapi-cache"] == "HIT"
    assert (await asked(made("uncached"), PATH.format(session_id=session_id_of(2)))).status_code == 404


async def test_the_bare_handler_answers_with_the_bytes_and_headers_it_was_given() -> None:
    answer = await asked(bare(b"{}", [(name.encode(), value.encode()) for name, value in HEADERS]), "/anything")
    assert (answer.content, answer.headers.multi_items()) == (b"{}", list(HEADERS))


@pytest.mark.parametrize("kind", ["uvicorn", "granian"])
async def test_a_server_in_a_process_of_its_own_is_measured(kind: str) -> None:
    served = Served("bare", "", "", "", b"{}".hex(), HEADERS, kind)
    server = Server("bare", (sys.executable, "-m", "adapters.entrypoints.bench.http_servers"), served.as_environment())
    async with server.running(), open_load() as load:
        rate, cpu_us = await load.measure(server, "/anything", 0.2)
        body, headers = answer_of(server.port, "/anything")
    assert rate > 0
    assert cpu_us > 0
    assert body == b"{}"
    assert headers.items() >= dict(HEADERS).items()
