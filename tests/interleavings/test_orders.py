"""Whatever the order of their exchanges with Redis and PostgreSQL: readers, writers and relays keep the promises."""

from __future__ import annotations

import pytest

from tests.interleavings.conftest import Play
from tests.interleavings.mutants import MUTANTS, Mutate
from tests.interleavings.scenes import SCENES, Scene


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_in_every_order_the_promises_are_kept(play: Play, scene: Scene) -> None:
    assert scene.explore(play) or not scene.complete


@pytest.mark.parametrize(("mutate", "name"), MUTANTS.values(), ids=MUTANTS.keys())
def test_without_this_care_some_order_breaks_a_promise(play: Play, mutate: Mutate, name: str) -> None:
    play.mutate = mutate
    with pytest.raises(AssertionError, match="broke a promise") as caught:
        SCENES[name].explore(play)
    print(caught.value, *caught.value.__notes__, sep="\n")  # noqa: T201 - shown by -rP
