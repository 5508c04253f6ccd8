"""Every peer stores and returns the same document, and forgets it when it is told to."""

from __future__ import annotations

import pytest
import zstandard

from adapters import document
from adapters.entrypoints.bench.documents import of_session
from adapters.entrypoints.bench.peers.glide_ import Glide
from adapters.entrypoints.bench.peers.opening import Opening
from adapters.entrypoints.bench.peers.ours import OursFar
from adapters.entrypoints.bench.peers.peer import BatchPeer, Peer
from adapters.entrypoints.bench.peers.redis_py import RedisPy
from adapters.entrypoints.bench.stage import Stage
from adapters.entrypoints.bench.works import callers, hits

# The peers call what redis-py has replaced.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

PEERS = pytest.mark.parametrize("kind", hits.PEERS, ids=lambda kind: kind.__name__)
SESSIONS = range(100_000, 100_030)


@PEERS
async def test_a_peer_answers_with_the_document_however_it_is_asked(stage: Stage, kind: type[Peer]) -> None:
    stage = stage.with_prefix(kind.__name__)
    recorded = stage.documents.recorded
    await stage.truth.fill(recorded, SESSIONS)
    expected = {number: of_session(recorded, number) for number in SESSIONS}
    first, second, third = SESSIONS[:3]
    async with Opening(stage) as opening:
        peer = await opening.peer(kind)
        assert await peer.read(first) == expected[first]
        assert await peer.get(first) == expected[first]
        assert await peer.read_protected(second) == expected[second]
        assert await peer.get(second) == expected[second]
        await peer.warm(SESSIONS, recorded)
        assert await peer.get(third) == expected[third]
        if isinstance(peer, BatchPeer):
            assert list(await peer.get_many(SESSIONS)) == list(expected.values())
        if isinstance(peer, RedisPy | Glide | OursFar):
            assert zstandard.decompress(await peer.raw(first) or b"") == document.encode(expected[first])


@PEERS
async def test_a_peer_answers_with_what_was_saved_through_it(stage: Stage, kind: type[Peer]) -> None:
    stage = stage.with_prefix(f"{kind.__name__}_saves")
    number = 100_100 + hits.PEERS.index(kind)
    await stage.truth.fill(stage.documents.recorded, [number])
    saved = of_session(stage.documents.recorded, number, edition=1)
    async with Opening(stage) as opening:
        peer = await opening.peer(kind, [number])
        await peer.save(number, saved)
        assert await peer.read(number) == saved
        # What was dropped is loaded once more, whoever wrote it, and held again.
        await stage.truth.repository.save(of_session(stage.documents.recorded, number, edition=2))
        await peer.drop([number])
        assert await peer.read(number) == of_session(stage.documents.recorded, number, edition=2)


def test_every_peer_says_how_it_is_set_up_and_who_advises_so() -> None:
    for kind in {*hits.PEERS, *callers.PEERS}:
        told = kind.configured()
        assert len(told.how) > 20
        assert told.documentation.startswith(("https://", "docs/"))
    assert len({kind.name for kind in hits.PEERS}) == len(hits.PEERS)
