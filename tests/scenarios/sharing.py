"""One fleet for all scenarios of a module that imports these fixtures: its scenarios do one another no harm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenarios.world import World, dispose, new_world, settled

__all__ = ["at_rest", "world"]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One for all of them; nothing of it is left."""
    made = new_world(shared=True)
    try:
        yield made
    finally:
        dispose(made)


@pytest.fixture(autouse=True)
def at_rest(world: World) -> Iterator[None]:
    """After each of them nothing is asked or waited for any more."""
    yield
    settled(world)
