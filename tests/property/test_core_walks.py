"""Random walks: random tickets, agents, faults, people and crashes; the laws hold after every record.

The seed of a walk that fails is in its message; `PENSTOCK_SEED=N` walks that one alone.
"""

from __future__ import annotations

import os
from collections import Counter

from tests.model.chance import random_world

WALKS = 150
ALONE = os.environ.get("PENSTOCK_SEED")


def seeds(first: int, count: int = WALKS) -> list[int]:
    return [int(ALONE)] if ALONE else list(range(first, first + count))


def test_the_laws_hold_on_every_walk_and_every_walk_ends() -> None:
    landed: Counter[str] = Counter()
    for seed in seeds(1):
        print(f"PENSTOCK_SEED={seed}")
        world = random_world(seed).run()
        landed.update(world.landed)
        assert world.state.finished is not None, world.story()[-8:]
    if not ALONE:
        assert not {"crash", "lost", "twice", "late", "pause", "cancel", "push"} - set(landed), landed
