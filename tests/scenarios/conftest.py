"""Worlds for scenarios, and the steps that they are told in."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.scenarios.steps import (
    answers,
    asking,
    commands,
    faults,
    fleets,
    living,
    machines,
    observing,
    rooms,
    trouble,
    unheard,
)
from tests.scenarios.world import World, dispose, new_world

STEPS = (fleets, asking, answers, living, trouble, observing, commands, machines, unheard, rooms, faults)


def pytest_configure(config: pytest.Config) -> None:
    """Make the steps known to every feature. Who ignores Ctrl-C hands that on to its children: nobody here does."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for module in STEPS:
        config.pluginmanager.register(module, module.__name__)


def pytest_bdd_apply_tag(tag: str, function: Callable[..., object]) -> bool:
    """Tags are ids of facts, and no markers: `test_facts.py` reads them."""
    return True


def pytest_bdd_step_error(request: pytest.FixtureRequest, step: Any, step_func_args: dict[str, Any]) -> None:
    """Show what its programs said."""
    told = step_func_args.get("world")
    print(f"\nthe step that failed: {step.keyword} {step.name}\n{told.story() if isinstance(told, World) else ''}")


@pytest.fixture
def world() -> Iterator[World]:
    """One for each scenario; nothing of it is left."""
    made = new_world()
    try:
        yield made
    finally:
        dispose(made)
