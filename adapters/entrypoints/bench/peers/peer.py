"""What the bench asks of a cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

from adapters.entrypoints.bench.figures import Configured
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics

TTL_S: Final = 3600


class Peer(ABC):
    """One way of answering for the sessions of a run, which go by their numbers. `open` it before use and `aclose` it after.

    `how` says how it is set up and `documentation` which page advises so; the report prints both.
    """

    name: ClassVar[str]
    how: ClassVar[str]
    documentation: ClassVar[str]

    def __init__(self, place: Place, truth: Truth) -> None:
        self.place = place
        self.truth = truth

    @classmethod
    def configured(cls) -> Configured:
        """For the report."""
        return Configured(cls.name, cls.how, cls.documentation)

    async def open(self) -> None:  # noqa: B027 - some have nothing to open
        """Connects."""

    async def aclose(self) -> None:  # noqa: B027 - or to close
        """Closes what was opened."""

    @abstractmethod
    async def get(self, number: int) -> SessionAnalytics | None:
        """What the cache holds, decoded; None if it holds nothing."""

    @abstractmethod
    async def put(self, number: int, analytics: SessionAnalytics) -> None:
        """Fills the cache, as a reader does after a load."""

    @abstractmethod
    async def drop(self, numbers: Sequence[int]) -> None:
        """Makes the next read of these sessions a load."""

    async def read(self, number: int) -> SessionAnalytics:
        """What the cache holds, or else the truth, which then fills it."""
        found = await self.get(number)
        if found is None:
            found = await self.truth.load(number)
            await self.put(number, found)
        return found

    async def save(self, analytics: SessionAnalytics, number: int) -> None:
        """Writes to the truth and takes what is outdated from the cache."""
        await self.truth.repository.save(analytics)
        await self.drop([number])

    async def warm(self, numbers: Sequence[int]) -> None:
        """Reads these sessions, so that they are held."""
        for number in numbers:
            await self.read(number)
