"""What every SignalPreviews promises."""

from __future__ import annotations

import asyncio

import pytest

from domain.ports import SignalPreviews
from domain.signals import POINTS_ANSWER_MAX
from tests.previews import key_of, same, some_preview
from tests.strategies import new_id


@pytest.mark.parametrize("points", [0, 1, 300, POINTS_ANSWER_MAX])
async def test_what_is_kept_is_found_equal(previews: SignalPreviews, points: int) -> None:
    session_id, preview = new_id(), some_preview(points=points)
    await previews.keep(session_id, preview)
    assert same(await previews.find(session_id, preview.key), preview)


async def test_what_was_never_kept_is_none(previews: SignalPreviews) -> None:
    session_id, preview = new_id(), some_preview()
    await previews.keep(session_id, preview)
    assert await previews.find(session_id, key_of("another")) is None
    assert await previews.find(new_id(), preview.key) is None


async def test_a_session_has_many_previews(previews: SignalPreviews) -> None:
    session_id = new_id()
    made = [some_preview(number) for number in range(20)]
    await asyncio.gather(*(previews.keep(session_id, preview) for preview in made))
    for preview in made:
        assert same(await previews.find(session_id, preview.key), preview)


async def test_an_erased_session_has_none_and_others_keep_theirs(previews: SignalPreviews) -> None:
    one, other = new_id(), new_id()
    for session_id in (one, other):
        for number in range(3):
            await previews.keep(session_id, some_preview(number))
    for _ in range(2):
        assert await previews.erase(one)
    for number in range(3):
        assert await previews.find(one, key_of(number)) is None
        assert await previews.find(other, key_of(number)) is not None


async def test_a_preview_that_was_being_made_during_an_erasure_is_not_kept(previews: SignalPreviews) -> None:
    session_id = new_id()
    await previews.erase(session_id)
    await previews.keep(session_id, some_preview())
    assert await previews.find(session_id, some_preview().key) is None


async def test_erasing_a_session_that_has_none_is_well(previews: SignalPreviews) -> None:
    assert await previews.erase(new_id())
