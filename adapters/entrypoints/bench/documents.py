"""The documents of a run, and whose they are: sessions go by numbers."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from uuid import UUID

import zstandard

from adapters import document
from adapters.entrypoints.bench.figures import Document
from domain.analytics import ChannelAnalytics, Contraction, SessionAnalytics
from domain.session import SessionId

SIZES_BYTES: Final = {"4 KB": 4_000, "100 KB": 100_000, "1 MB": 1_000_000}
"""Documents by their size compressed, which is what is stored and sent."""
_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class Documents:
    """`recorded`: of the recording, as it is. `sized`: by the names in SIZES_BYTES."""

    recorded: SessionAnalytics
    sized: dict[str, SessionAnalytics]
    facts: tuple[Document, ...]


@lru_cache(maxsize=1 << 16)
def session_id_of(number: int) -> SessionId:
    """Sessions of a run are numbered: the same number is the same session for everybody. Remembered: readers know theirs."""
    return SessionId(UUID(int=(0xE5E5 << 112) | (4 << 76) | (2 << 62) | number))


def of_session(analytics: SessionAnalytics, number: int, edition: int = 0) -> SessionAnalytics:
    """The analytics as those of the session of a number; another `edition` is another content of the same size, near enough."""
    first = analytics.channels[0]
    channels = (replace(first, rms=(first.rms or 0.0) * (1 + edition / 1e9)), *analytics.channels[1:]) if edition else analytics.channels
    return replace(analytics, session_id=session_id_of(number), channels=channels)


def compressed(analytics: SessionAnalytics) -> bytes:
    """The canonical document as our cache compresses it."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(document.encode(analytics))


def grown_to(analytics: SessionAnalytics, size_bytes: int) -> SessionAnalytics:
    """The analytics with as many more contractions as it takes to be about so large when compressed; fewer, if that is too large already.

    Each is a real one with other figures, so that it compresses as real ones do; and it is a document, since it is read back.
    """
    count = sum(len(channel.contractions.items) for channel in analytics.channels)
    wanted = count
    for _ in range(12):
        grown = _with_contractions(analytics, max(1, wanted))
        found = len(compressed(grown))
        if abs(found - size_bytes) <= 0.02 * size_bytes:
            break
        wanted = max(1, round(wanted * size_bytes / found)) if found else wanted
    return document.decode(document.encode(grown), of="the bench")


def small(analytics: SessionAnalytics) -> SessionAnalytics:
    """The analytics with one channel and two contractions: for works in which the document is not what matters."""
    channel = analytics.channels[0]
    items = channel.contractions.items[:2]
    channel = replace(channel, contractions=replace(channel.contractions, count=len(items), items=items))
    return replace(analytics, channels=(channel,), summary=replace(analytics.summary, channel_count=1))


def _with_contractions(analytics: SessionAnalytics, count: int) -> SessionAnalytics:
    rng = random.Random(count)
    share = count / max(1, sum(len(channel.contractions.items) for channel in analytics.channels))
    channels = tuple(
        _channel_with(channel, rng, max(1, round(share * len(channel.contractions.items)))) if channel.contractions.items else channel
        for channel in analytics.channels
    )
    return replace(analytics, channels=channels)


def _channel_with(channel: ChannelAnalytics, rng: random.Random, count: int) -> ChannelAnalytics:
    known = channel.contractions.items
    items = [*known[:count], *(_like(rng.choice(known), rng) for _ in range(count - len(known)))]
    return replace(channel, contractions=replace(channel.contractions, count=len(items), items=tuple(items)))


def _like(contraction: Contraction, rng: random.Random) -> Contraction:
    by, start_ms = rng.uniform(0.8, 1.2), contraction.start_ms * rng.uniform(0.5, 1.5)
    duration_ms = contraction.duration_ms * by
    return replace(
        contraction,
        start_ms=start_ms,
        end_ms=start_ms + duration_ms,
        duration_ms=duration_ms,
        mean_amplitude=contraction.mean_amplitude * by,
        max_amplitude=contraction.max_amplitude * rng.uniform(0.8, 1.2),
    )
