"""Maximum voluntary contractions that were measured, and are given with a recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from domain.errors import InvalidMvc

TEXT_LENGTH_MAX: Final = 4000
"""Characters that a text of values may have: dozens of channels, whatever they are called."""


@dataclass(frozen=True, slots=True)
class GivenMvc:
    """The maximum voluntary contractions given for one session, in its recording's unit.

    `by_channel` names single channels, sorted, each once; those go before `every_channel`. What is given for neither is a matter of the
    settings, and then of an estimate. Raises InvalidMvc for what is no such value, and for nothing at all.
    """

    every_channel: float | None = None
    by_channel: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.every_channel is None and not self.by_channel:
            raise InvalidMvc("no value is given")
        object.__setattr__(self, "by_channel", tuple(sorted(self.by_channel)))
        names = [name for name, _ in self.by_channel]
        if len(set(names)) < len(names):
            raise InvalidMvc("a channel is given two values")
        if not all(name.strip() and name.isprintable() for name in names):
            raise InvalidMvc("a channel's name is empty, or has characters that cannot be printed")
        values = [value for _, value in self.by_channel]
        if not all(0 < value < inf for value in (*values, *((self.every_channel,) if self.every_channel is not None else ()))):
            raise InvalidMvc("a value is not a number above 0")


def given_mvc(texts: Iterable[str]) -> GivenMvc:
    """The values of texts that are `CHANNEL=VALUE` or, for every channel, `VALUE`, as the option --mvc has them. Raises InvalidMvc.

    A name may hold an equals sign: the last one counts.
    """
    every_channel: list[float] = []
    by_channel: list[tuple[str, float]] = []
    for number, text in enumerate(texts, start=1):
        name, equals, shown = text.rpartition("=")
        try:
            value = float(shown)
        except ValueError:
            value = 0.0
        if not 0 < value < inf or (equals and not name.strip()):
            raise InvalidMvc(f"part {number} is neither CHANNEL=VALUE nor VALUE, with a number above 0, such as CH1=0.0003", text)
        if equals:
            by_channel.append((name.strip(), value))
        else:
            every_channel.append(value)
    if len(every_channel) > 1:
        raise InvalidMvc("two values are given for every channel")
    return GivenMvc(every_channel[0] if every_channel else None, tuple(by_channel))


def parse_mvc(text: str) -> GivenMvc | None:
    """The values of one text, separated by commas as in the setting MVC_CHANNELS; None if it says nothing. Raises InvalidMvc."""
    if len(text) > TEXT_LENGTH_MAX:
        raise InvalidMvc(f"the text is longer than {TEXT_LENGTH_MAX} characters")
    parts = [part for part in text.split(",") if part.strip()]
    return given_mvc(parts) if parts else None
