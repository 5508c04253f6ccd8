"""The dashboard's pages and files as they are served: whole, for good, compressed, and to nobody's harm."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
import zstandard

import adapters.http
from tests.http.serving import Served, problem_of

STATIC = Path(adapters.http.__path__[0]) / "static"
PAGES = ["/", "/patients", "/patients/P042", "/sign-in", "/cache", "/sessions/6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10"]
IMPORT = re.compile(r"""(?:from|import\()\s*"\./([a-z_]+\.js)\"""")


def linked(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="(/static/[^"]+)"', page)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_and_all_that_it_names_is_served_without_a_token(service: Served, path: str) -> None:
    page = await service.client.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert len(linked(page.text)) > 10
    for address in linked(page.text):
        file = await service.client.get(address)
        assert file.status_code == 200, address
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_a_page_that_the_browser_has_is_not_sent_again(service: Served) -> None:
    etag = (await service.client.get("/")).headers["etag"]
    answer = await service.client.get("/", headers={"if-none-match": etag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert (await service.client.get("/cache", headers={"if-none-match": etag})).status_code == 200, "another page is another page"
    assert (await service.client.head("/")).headers["etag"] == etag


async def test_files_are_compressed_as_the_browser_likes_it(service: Served) -> None:
    (address,) = [name for name in linked((await service.client.get("/cache")).text) if name.endswith("/bokeh.min.js")]
    async with service.client.stream("GET", address, headers={"accept-encoding": "identity"}) as answer:
        plain = await answer.aread()
    assert "content-encoding" not in answer.headers
    for coding, decode in (("gzip", gzip.decompress), ("zstd", lambda body: zstandard.ZstdDecompressor().decompress(body))):
        async with service.client.stream("GET", address, headers={"accept-encoding": coding}) as answer:
            body = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == coding
        assert answer.headers["vary"] == "Accept-Encoding"
        assert len(body) < len(plain) / 2
        assert decode(body) == plain


async def test_what_is_not_a_file_of_the_dashboard_is_a_404_with_a_sentence(service: Served) -> None:
    (address, *_) = linked((await service.client.get("/")).text)
    digest = address.split("/")[2]
    for path in (f"/static/{digest}/nothing.js", "/static/0000000000000000/main.js", f"/static/{digest}/shell.html"):
        assert problem_of(await service.client.get(path), 404) == "file-not-found"
    for path in (f"/static/{digest}/..%2f..%2fassets.py", f"/static/{digest}/%2e%2e/assets.py"):
        assert (await service.client.get(path)).status_code == 404


async def test_where_no_route_is_a_browser_gets_a_page_and_everybody_else_a_problem(service: Served) -> None:
    page = await service.client.get("/no/such/page", headers={"accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert problem_of(await service.client.get("/no/such/page"), 404) == "about:blank"


async def test_no_page_runs_a_script_of_its_own_or_of_others(service: Served) -> None:
    for path in PAGES:
        page = await service.client.get(path)
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assert "unsafe-eval" not in page.headers["content-security-policy"]
        assert re.findall(r"<script(?![^>]* src=)", page.text) == []
        assert re.findall(r"\son[a-z]+=|javascript:|https?://", page.text) == []


def test_every_module_is_imported_by_a_page_and_every_import_exists() -> None:
    modules = {path.name: path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")}
    reached, waiting = {"first_requests.js"}, ["main.js", "first_requests.js"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += [imported for imported in IMPORT.findall(modules[name]) if imported not in reached]
    assert reached == set(modules)


def test_what_modules_import_of_each_other_is_exported_and_used() -> None:
    modules = {path.name: path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")}
    wrong = []
    for name, text in modules.items():
        for names, source in re.findall(r'^import \{ ([^}]+) \} from "\./([a-z_]+\.js)";$', text, re.MULTILINE):
            for imported in names.split(", "):
                if not re.search(rf"^export (?:async )?(?:function|const|class) {imported}\b", modules[source], re.MULTILINE):
                    wrong.append(f"{name}: {source} exports no {imported}")
                if len(re.findall(rf"\b{imported}\b", text)) < 2:
                    wrong.append(f"{name}: {imported} is not used")
    exported = {
        (name, found)
        for name, text in modules.items()
        for found in re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", text, re.MULTILINE)
    }
    wrong += [
        f"{name}: nobody imports {found}"
        for name, found in sorted(exported)
        if found != "showPage" and not any(re.search(rf"\b{found}\b", text) for other, text in modules.items() if other != name)
    ]
    assert wrong == []


def test_texts_never_become_markup() -> None:
    for path in STATIC.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text(encoding="utf-8")
        ), path.name
