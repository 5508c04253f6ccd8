"""Erases sessions: everything that is known of them, everywhere."""

from __future__ import annotations

from domain.ports import RecordingStore, SessionAnalyticsRepository, SessionRegistry, SignalPreviews
from domain.session import SessionId


class SessionErasure:
    """Erases a session's recording, registration, previews and analytics, in an order that an interruption does not harm.

    The recording goes first, while the registration still says where it is. The analytics go last: their id is all that is needed to find
    them. So whatever an interrupted erasure leaves, erasing again finds. A worker that is processing the session meanwhile looks into the
    registry after it has saved, and takes back what it saved if the session is gone; if it dies in between, its job is tried again and
    does so (TherapySessionProcessor).
    """

    def __init__(
        self, *, repository: SessionAnalyticsRepository, registry: SessionRegistry, store: RecordingStore, previews: SignalPreviews
    ) -> None:
        self._repository = repository
        self._registry = registry
        self._store = store
        self._previews = previews

    async def erase(self, session_id: SessionId) -> bool:
        """Erases a session, and the sessions that are its duplicates: they have the same bytes. False if nothing was known of it.

        The duplicates come last: once the session itself is gone, no more of them appear.
        """
        erased = await self._erase(session_id)
        for duplicate in await self._registry.duplicates_of(session_id):
            erased |= await self._erase(duplicate.session_id)
        return erased

    async def _erase(self, session_id: SessionId) -> bool:
        session = await self._registry.find(session_id)
        if session is not None and session.recording_key is not None:
            await self._store.delete(session.recording_key)
        forgotten = await self._registry.forget(session_id)
        # Nobody finds the session any more, so none is begun after this; those that are being made will not be kept.
        await self._previews.erase(session_id)
        deleted = await self._repository.delete(session_id)
        return forgotten or deleted is not None
