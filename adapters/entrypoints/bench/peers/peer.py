"""What the bench asks of a cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from adapters.entrypoints.bench.documents import of_session
from adapters.entrypoints.bench.figures import Configured
from adapters.entrypoints.bench.servers import Place
from adapters.entrypoints.bench.stage import Truth
from domain.analytics import SessionAnalytics

TTL_S: Final = 3600
ENTRIES_MAX: Final = 1_000
"""What every cache in the process may hold, where that can be said: the default of ours and of cashews."""
_WARMED_AT_ONCE: Final = 500


class Peer(ABC):
    """One way of answering for the sessions of a run, which go by their numbers. `open` it before use and `aclose` it after.

    `how` says how it is set up and `documentation` which page advises so; the report prints both. `protection` says what is done against
    many readers that miss at once, and None that its documentation offers nothing.
    """

    name: ClassVar[str]
    how: ClassVar[str]
    documentation: ClassVar[str]
    protection: ClassVar[str | None] = None

    def __init__(self, place: Place, truth: Truth) -> None:
        self.place = place
        self.truth = truth

    @classmethod
    def configured(cls) -> Configured:
        """For the report."""
        how = cls.how if cls.protection is None else f"{cls.how}. Against stampedes: {cls.protection}"
        return Configured(cls.name, how, cls.documentation)

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

    async def read_protected(self, number: int) -> SessionAnalytics:
        """As `read`, with the protection against stampedes that the documentation offers."""
        return await self.read(number)

    async def settle(self, numbers: Sequence[int]) -> None:  # noqa: B027 - most have nothing to wait for
        """Before a turn with these sessions: waits until the cache answers for them, if something has just kept it from that."""

    async def save(self, number: int, analytics: SessionAnalytics) -> None:
        """Writes to the truth and takes what is outdated from the cache."""
        await self.truth.repository.save(analytics)
        await self.drop([number])

    async def warm(self, numbers: Sequence[int], analytics: SessionAnalytics) -> None:
        """Lets the cache hold these sessions, of which each has this document."""
        for begin in range(0, len(numbers), _WARMED_AT_ONCE):
            await self.put_many({number: of_session(analytics, number) for number in numbers[begin : begin + _WARMED_AT_ONCE]})

    async def put_many(self, analytics: Mapping[int, SessionAnalytics]) -> None:
        """As `put`, in one exchange where that can be."""
        for number, each in analytics.items():
            await self.put(number, each)


class BatchPeer(Peer):
    """One that can be asked for many sessions at once."""

    @abstractmethod
    async def get_many(self, numbers: Sequence[int]) -> Sequence[SessionAnalytics | None]:
        """As `get`, in their order."""
