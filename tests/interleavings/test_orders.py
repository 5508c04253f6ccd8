"""Whatever the order of their exchanges with Redis and PostgreSQL: readers, writers and relays keep the promises."""

from __future__ import annotations

import pytest

from tests.interleavings.conftest import Play
from tests.interleavings.scenes import SCENES, Scene


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_in_every_order_the_promises_are_kept(play: Play, scene: Scene) -> None:
    assert scene.explore(play) or not scene.complete
