"""The files of the dashboard: ours, and BokehJS as its wheel ships it.

Every file is found under an address that names the content, so that a browser keeps it for good and never asks again:
`/static/DIGEST/main.js`. The digest is that of all files of a set together: modules then find each other by relative addresses, and a
change of one of them is a change of all, which is a few kilobytes. BokehJS is a set of its own, which changes with its version alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cachetools import LRUCache

from adapters.http.codings import choose, recode
from domain.errors import InvalidSettings
from domain.ports import Coding

STATIC: Final = "/static"

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_DIGEST_CHARACTERS: Final = 16
_BOKEH: Final = ("bokeh.min.js", "bokeh-api.min.js")
_CODED_BYTES_MAX: Final = 4_000_000
_SHELL: Final = "shell.html"
_ENTRY: Final = "main.js"
_IMPORT: Final = re.compile(r"""^import [^;]*?"\./([a-z_]+\.js)";$""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    body: bytes
    media_type: str


class AssetSet:
    """Files that belong together, under the digest of all of them."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        whole = hashlib.sha256()
        for name in sorted(files):
            whole.update(f"{name}\0{len(files[name])}\0".encode())
            whole.update(files[name])
        self.digest = whole.hexdigest()[:_DIGEST_CHARACTERS]
        self.assets = {name: Asset(body, _MEDIA_TYPES[Path(name).suffix]) for name, body in files.items()}

    def address(self, name: str) -> str:
        """Where a file is found."""
        return f"{STATIC}/{self.digest}/{name}"

    def named(self, suffix: str) -> Iterable[str]:
        """The names that end so, sorted."""
        return sorted(name for name in self.assets if name.endswith(suffix))


class Assets:
    """All files, read once from `folder` and from the installed package of Bokeh, and compressed when first asked for.

    Raises InvalidSettings if the package is not installed as it should be.
    """

    def __init__(self, folder: Path = Path(__file__).parent / "static") -> None:
        ours = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _MEDIA_TYPES}
        bokeh = _bokeh_folder()
        self._ours = AssetSet(ours)
        self._bokeh = AssetSet({name: (bokeh / name).read_bytes() for name in _BOKEH})
        self._shell = (folder / _SHELL).read_text(encoding="utf-8")
        self._coded: LRUCache[tuple[str, str, Coding], bytes] = LRUCache(_CODED_BYTES_MAX, getsizeof=len)

    def find(self, digest: str, name: str) -> Asset | None:
        """A file by its address."""
        for files in (self._ours, self._bokeh):
            if files.digest == digest:
                return files.assets.get(name)
        return None

    async def coded(self, digest: str, name: str, asset: Asset, accept_encoding: bytes | None) -> tuple[Coding, bytes]:
        """A file in the coding that the client likes best; as it is, if it likes none."""
        coding = choose(accept_encoding, "identity", len(asset.body)) or "identity"
        body = self._coded.get((digest, name, coding))
        if body is None:
            body = await recode(asset.body, "identity", coding)
            if coding != "identity":
                self._coded[digest, name, coding] = body
        return coding, body

    def shell(self, page: str, *, first: str | None, plots: bool) -> bytes:
        """What an address of the dashboard answers with; the module `page` fills it, and `first` asks meanwhile for what that will show.

        All that these import is named, so that the browser need not find out one after another. BokehJS, which takes longest to begin,
        stands last; a page without plots lets the browser fetch it for the next.
        """
        links = [f'<link rel="icon" href="{self._ours.address("icon.svg")}" type="image/svg+xml">']
        if first is not None:
            links.append(f'<script type="module" async src="{self._ours.address(first)}"></script>')
        links += [f'<link rel="modulepreload" href="{self._ours.address(name)}">' for name in self._wanted_by(first, page, _ENTRY)]
        links += [f'<link rel="stylesheet" href="{self._ours.address(name)}">' for name in self._ours.named(".css")]
        links.append(f'<script type="module" src="{self._ours.address(_ENTRY)}"></script>')
        for name in _BOKEH:
            address = self._bokeh.address(name)
            links.append(f'<script defer src="{address}"></script>' if plots else f'<link rel="prefetch" href="{address}" as="script">')
        return self._shell.replace("<!-- links -->", "\n  ".join(links)).encode()

    def _wanted_by(self, *modules: str | None) -> list[str]:
        """The modules, what they import, what those import, and so on, in the order in which they are met."""
        found: dict[str, None] = {}
        waiting = [name for name in modules if name is not None]
        while waiting:
            if (name := waiting.pop(0)) not in found:
                found[name] = None
                waiting += _IMPORT.findall(self._ours.assets[name].body.decode())
        return list(found)


def _bokeh_folder() -> Path:
    # Found, not imported: only its files are wanted, and importing it takes half a second.
    spec = find_spec("bokeh")
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent / "server" / "static" / "js"
    if folder is None or not all((folder / name).is_file() for name in _BOKEH):
        raise InvalidSettings("the package bokeh, which brings the dashboard's plots, is not installed as it should be; install it again")
    return folder
