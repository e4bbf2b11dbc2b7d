"""What the core does, told as histories: a world is given, it runs, and its records say what happened."""

from __future__ import annotations

from tests.model.agents import red_then_fixed
from tests.model.world import given, ticket


def test_one_ticket_lands() -> None:
    world = given(ticket("A")).run()
    assert world.moves("A") == ["ready", "working", "verifying", "landing", "done"]
    assert world.end_as == ("finished", 0)


def test_a_red_is_fixed() -> None:
    world = given(ticket("A")).agent("A", red_then_fixed()).run()
    print("\n".join(world.story()))
    assert world.end_as == ("finished", 0)
