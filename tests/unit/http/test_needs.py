"""What the HTTP surface needs: a typo fails at import, a forgotten need at the start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from dependency_injector import providers
from dependency_injector.errors import Error

from adapters.http.app import create_app
from adapters.http.needs import HttpNeeds, needed
from adapters.http.policy import HttpPolicy
from adapters.settings import load_settings
from container import Container


def test_a_typo_is_noticed_where_it_is_made() -> None:
    with pytest.raises(AttributeError):
        needed(HttpNeeds.session_analytic)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="add it to HttpNeeds"):
        needed(providers.Dependency(instance_of=str))


@pytest.mark.parametrize("name", sorted(HttpNeeds.providers))
async def test_a_forgotten_need_fails_at_the_start_by_its_name(name: str) -> None:
    given: dict[str, Any] = {each: providers.Object(None) for each in HttpNeeds.providers if each != name}

    @asynccontextmanager
    async def open_needs() -> AsyncIterator[HttpNeeds]:
        yield HttpNeeds(**given)

    app = create_app(open_needs, HttpPolicy())
    with pytest.raises(Error, match=name):
        async with app.router.lifespan_context(app):
            pass


def test_the_root_container_provides_every_need() -> None:
    Container(settings=providers.Object(load_settings())).check_dependencies()
