"""Random walks: random tickets, agents, faults, people and crashes; the laws hold after every record.

The seed of a walk that fails is the last one printed; `PENSTOCK_SEED=N` walks that one alone.
"""

from __future__ import annotations

from collections import Counter

from tests.model.chance import random_world
from tests.property.seeds import ALONE, seeds

FAULTS = {"crash", "lost", "twice", "late", "pause", "cancel", "approve", "push", "raise", "drain"}


def test_the_laws_hold_on_every_walk_and_every_walk_ends() -> None:
    landed: Counter[str] = Counter()
    for seed in seeds(110):
        print(f"PENSTOCK_SEED={seed}")
        world = random_world(seed).run()
        landed.update(world.landed)
        assert world.state.finished is not None, world.story()[-8:]
    assert ALONE or not FAULTS - set(landed), landed
