"""A step costs what changed, not what there is. Counted in calls, not in time, so that it cannot flake."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from penstock.core.policy import GateSpec, Policy
from penstock.core.tickets import Ticket
from tests.model.world import BASE, World, limits, ticket

CYCLES = 3


class Counted:
    """Counts the calls that functions of the core make and receive, builtins too, while it is entered."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> Counted:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_call") and "/penstock/core/" in frame.f_code.co_filename:
            self.calls += 1


def busy(tickets: list[Ticket]) -> World:
    gates = (GateSpec(name="tests", command="pytest", digest="g" * 64),)
    policy = Policy(gates=gates, limits=limits(window_start=2, window_max=2))
    return World(tickets, policy, BASE)


def calls_of_some_cycles(tickets: list[Ticket]) -> int:
    """Calls from the landing of one ticket to that of the third after it."""
    world = busy(tickets).begin()
    while done(world) < 2:
        world.step()
    with Counted() as counted:
        while done(world) < 2 + CYCLES:
            world.step()
    return counted.calls


def done(world: World) -> int:
    return sum(1 for run in world.state.tickets.values() if run.state == "done")


def alike(count: int) -> list[Ticket]:
    return [ticket(f"T{n:05}") for n in range(count)]


def with_scopes(count: int) -> list[Ticket]:
    return [ticket(f"T{n:05}", scope=(f"src/t{n:05}.py", f"tests/test_t{n:05}.py")) for n in range(count)]


def waiting(count: int) -> list[Ticket]:
    """A few that work, and many that wait for the last of them."""
    return [*alike(8), *(ticket(f"W{n:05}", depends_on=("T00007",)) for n in range(count))]


@pytest.mark.parametrize("shape", [alike, with_scopes, waiting])
def test_a_cycle_costs_the_same_among_few_and_among_many(shape: Any) -> None:
    few, many = calls_of_some_cycles(shape(100)), calls_of_some_cycles(shape(3_000))
    print(f"{shape.__name__}: {few} calls among 100, {many} among 3,000")
    assert abs(many - few) <= few // 5


def test_what_looks_at_all_is_counted() -> None:
    """The counter can fail: reading every ticket costs what there is."""
    from penstock.core.done import clauses

    costs = []
    for count in (100, 1_000):
        world = busy(alike(count)).begin()
        with Counted() as counted:
            for _ in world.state.tickets:
                clauses(world.state)
        costs.append(counted.calls)
    assert costs[1] > 5 * costs[0]
