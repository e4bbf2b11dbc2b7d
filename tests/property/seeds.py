"""Which seeds are walked: a fixed row, or the one that `PENSTOCK_SEED` names."""

from __future__ import annotations

import os

ALONE = os.environ.get("PENSTOCK_SEED", "")


def seeds(count: int) -> list[int]:
    """The first `count` seeds, or the one that was asked for. pytest shows what is printed when a test fails."""
    return [int(ALONE)] if ALONE else list(range(1, count + 1))
