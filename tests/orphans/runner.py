"""A fleet in a folder, started as the tests start theirs: `python -m tests.orphans.runner FOLDER`. Says `up`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.orphans.kills import bring_up, fleet_models
from tests.scenarios.world import World


def main(folder: Path) -> None:
    """Until it is killed."""
    world = World(folder)
    fleet_models(world)
    world.start_fleet("here")
    bring_up(world)
    print("up", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
