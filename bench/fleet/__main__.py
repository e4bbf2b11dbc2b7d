"""How fast the fleet is, beside its goals: `python -m bench.fleet [starts|passing|endings|tokens ...]`.

All of it in one run, on one machine. A goal that is missed is told, and is no failure of the run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator

from bench.fleet import endings, passing, starts, tokens
from bench.fleet.figure import Figure, table

PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "starts": starts.measure,
    "passing": passing.measure,
    "endings": endings.measure,
    "tokens": tokens.measure,
}


def main() -> int:
    """Measure, a line as soon as it is known, and all of them as a table last."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="only these")
    chosen = parser.parse_args().parts or list(PARTS)
    figures, begun = [], os.getloadavg()[0]
    for part in chosen:
        for figure in PARTS[part]():
            figures.append(figure)
            print(f"fleet.{part}: {figure.name} = {figure.value:.1f} {figure.unit}", flush=True)
    print(f"\n{table(figures)}\n")
    aimed = [figure.is_met for figure in figures if figure.goal is not None]
    load = os.getloadavg()[0]
    print(f"bench.fleet: {sum(aimed)} goals met, {len(aimed) - sum(aimed)} missed")
    print(f"({os.cpu_count()} processors; {begun:.1f} processes wanted one at the start, {load:.1f} at the end)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
