"""The scripts that run in Redis, and what their answers look like."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import redis.asyncio as redis
from redis.exceptions import InvalidResponse, NoScriptError

_FLOOR: Final = re.compile(rb"[0-9a-f]{16}")


class Script:
    """One of scripts/*.lua, with the lines in scripts/_entry.lua before it. `understands` knows its answer, given the number of keys."""

    def __init__(self, name: str, understands: Callable[[Any, int], bool]) -> None:
        self.understands = understands
        folder = files("adapters.redis_cache") / "scripts"
        self.text = (folder / "_entry.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Scripts:
    """All scripts, read once."""

    acquire: Script
    release: Script
    fill: Script
    invalidate: Script
    mark: Script
    apply: Script

    @classmethod
    def load(cls) -> Scripts:
        """Reads them from the package."""
        return cls(
            acquire=Script("acquire", lambda answer, keys: is_list(answer, keys // 2) and all(map(_is_grant, answer))),
            release=Script("release", lambda answer, _: type(answer) is int),
            fill=Script("fill", lambda answer, keys: is_list(answer, keys // 2, 0, 1)),
            invalidate=Script("invalidate", lambda answer, _: answer == 1),
            mark=Script("mark", lambda answer, _: is_list(answer, 3) and [type(part) for part in answer] == [int, bytes, int]),
            apply=Script("apply", lambda answer, _: answer in (0, 1)),
        )


async def evaluate(client: redis.Redis, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Any:
    """What a script returns. Raises what the client raises."""
    try:
        answer = await client.evalsha(script.sha, len(keys), *keys, *arguments)
    except NoScriptError:
        answer = await client.eval(script.text, len(keys), *keys, *arguments)
    # Anything that speaks the protocol may stand at the address: what it says must not get further than here.
    if not script.understands(answer, len(keys)):
        raise InvalidResponse("the answer to a script is none")
    return answer


def _is_grant(answer: object) -> bool:
    return isinstance(answer, bytes) and (answer in (b"hit", b"busy") or _FLOOR.fullmatch(answer) is not None)


def is_list(answer: object, length: int, *of: object) -> bool:
    """Whether an answer of Redis is a list of this length, and of these values if any are given."""
    return isinstance(answer, list) and len(answer) == length and (not of or all(part in of for part in answer))
