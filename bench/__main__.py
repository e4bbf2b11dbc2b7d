"""All measurements in one run: `make bench`. Goals are printed beside what was measured; a missed one is exit 1."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench import commands, log, overhead

GOALS: dict[str, Callable[[float], bool]] = {
    "help_s": lambda s: s < 0.15,
    "status_100k_s": lambda s: s < 0.3,
    "bubblewrap_ticket_s": lambda s: s < 0.5,
    "none_ticket_s": lambda s: s < 0.5,
}


def main() -> int:
    """Measure, print a line per figure, and a tally of the goals last."""
    missed = met = 0
    for part in (commands, overhead, log):
        for name, value in part.measure().items():
            goal = GOALS.get(name)
            mark = "" if goal is None else "  goal met" if goal(value) else "  GOAL MISSED"
            met, missed = met + (mark == "  goal met"), missed + (mark == "  GOAL MISSED")
            print(f"{part.__name__.removeprefix('bench.')}.{name} = {value}{mark}", flush=True)
    print(f"bench: {met} passed, {missed} failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
