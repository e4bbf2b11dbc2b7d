"""The life of a worker as a table, who speaks for a hive, and when what failed is tried again."""

from __future__ import annotations

import pytest

from penstock.core.fleet.fencing import Claim, FencedOff, Granted, NameTaken, register
from penstock.core.fleet.life import LIVE, SERVING, STATES, IllegalMove, WorkerState, may_move, moved
from penstock.core.fleet.policy import HivePolicy
from penstock.core.fleet.restarts import Restarts

TABLE = """
          starting loading idle busy draining stopped failed
starting  .        x       x    .    x        x       x
loading   .        .       x    .    x        x       x
idle      .        .       .    x    x        x       x
busy      .        .       x    .    x        .       x
draining  .        .       .    .    .        x       x
stopped   .        .       .    .    .        .       .
failed    .        .       .    .    .        .       .
"""


def cells() -> list[tuple[WorkerState, WorkerState, bool]]:
    _, header, *rows = TABLE.rstrip().split("\n")
    assert tuple(header.split()) == STATES
    return [
        (old, new, mark == "x")
        for old, row in zip(STATES, rows, strict=True)
        for new, mark in zip(STATES, row.split()[1:], strict=True)
    ]


@pytest.mark.parametrize(("old", "new", "is_legal"), cells())
def test_a_worker_goes_only_the_ways_of_the_table(old: WorkerState, new: WorkerState, is_legal: bool) -> None:
    assert may_move(old, new) == is_legal
    if is_legal:
        assert moved(old, new) == new
    else:
        with pytest.raises(IllegalMove):
            moved(old, new)


def test_every_end_is_final_and_every_life_can_fail() -> None:
    assert {state for state in STATES if not any(may_move(state, new) for new in STATES)} == {"stopped", "failed"}
    assert {state for state in STATES if may_move(state, "failed")} == LIVE
    assert SERVING < LIVE


# --- fencing --------------------------------------------------------------------------------------------------------

HELD = Claim(name="h", instance="a", epoch=3)


@pytest.mark.parametrize(
    ("held", "instance", "epoch", "is_alive", "answer"),
    [
        (None, "a", 0, False, Granted(claim=Claim(name="h", instance="a", epoch=1), is_new=True)),
        (None, "a", 7, False, Granted(claim=Claim(name="h", instance="a", epoch=8), is_new=True)),
        (HELD, "a", 3, True, Granted(claim=HELD, is_new=False)),
        (HELD, "a", 0, True, Granted(claim=HELD, is_new=False)),
        (HELD, "b", 0, True, NameTaken(holder=HELD)),
        (HELD, "b", 0, False, Granted(claim=Claim(name="h", instance="b", epoch=4), is_new=True)),
        (HELD, "b", 2, True, FencedOff(epoch=3)),
        (HELD, "b", 2, False, FencedOff(epoch=3)),
        (HELD, "b", 3, False, FencedOff(epoch=3)),
        (HELD, "b", 4, True, Granted(claim=Claim(name="h", instance="b", epoch=4), is_new=True)),
    ],
)
def test_who_may_speak_for_a_name(
    held: Claim | None, instance: str, epoch: int, is_alive: bool, answer: Granted | NameTaken | FencedOff
) -> None:
    assert register(held, instance, epoch, "h", is_holder_alive=is_alive) == answer


# --- restarts -------------------------------------------------------------------------------------------------------

POLICY = HivePolicy(
    backoff_base_ms=100, backoff_ms_max=1_000, failures_max=3, failures_window_ms=10_000, breaker_ms=5_000
)


def test_the_backoff_doubles_for_what_loads_and_dies_and_begins_anew_for_what_was_well() -> None:
    restarts = Restarts(POLICY)
    waits = [restarts.backoff_ms()]
    for number in range(6):
        restarts.start(number * 20_000)
        restarts.loaded()  # only what has loaded is replaced
        restarts.failed(number * 20_000 + 1)
        waits.append(restarts.backoff_ms())
    assert waits == [0, 100, 200, 400, 800, 1_000, 1_000]
    restarts.start(200_000)
    restarts.loaded()
    restarts.failed(300_000, had_proven=True)
    assert restarts.backoff_ms() == 100


def test_failures_that_lie_far_apart_open_no_breaker() -> None:
    restarts = Restarts(POLICY)
    for number in range(20):
        restarts.failed(number * POLICY.failures_window_ms)
        assert not restarts.is_open(number * POLICY.failures_window_ms)


def test_a_breaker_opens_lets_one_try_through_and_opens_again_or_closes() -> None:
    restarts = Restarts(POLICY)
    for _ in range(POLICY.failures_max):
        assert not restarts.is_open(0)
        restarts.failed(0)
    assert restarts.is_open(0) and restarts.wait_ms(1_000) == 4_000
    assert not restarts.is_open(5_000) and restarts.wait_ms(5_000) == 0
    restarts.start(5_000)
    assert restarts.is_open(5_000), "one try alone"
    restarts.failed(5_001)
    assert restarts.wait_ms(5_001) == POLICY.breaker_ms
    restarts.start(10_001)
    restarts.loaded()
    assert not restarts.is_open(10_001)
    restarts.failed(10_002)
    assert not restarts.is_open(10_002), "it counts anew"
