"""Scenarios of `observing.feature`, which do one another no harm: they share one fleet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_bdd import scenarios

from tests.scenarios.world import World, dispose, new_world, settled

scenarios("features/observing.feature")


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
