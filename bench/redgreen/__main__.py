"""All measurements of red-green in one run. A missed goal is exit 1; what cannot be installed is skipped by name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from bench.redgreen import hook, ledger, tree, vitest, warm

PARTS: dict[str, Callable[[], dict[str, float]]] = {
    "ledger": ledger.measure,
    "tree": tree.measure,
    "hook": hook.measure,
    "vitest": vitest.measure_vitest,
    "warm": warm.measure,
}
GOALS: dict[str, Callable[[float], bool]] = {
    "verdict_p99_ms": lambda ms: ms < 1,
    "unchanged_ms": lambda ms: ms < 20,
    "unchanged_to_system_calls": lambda ratio: ratio < 1.7,
    "hook_claude_p50_ms": lambda ms: ms < 40,
    "hook_codex_p50_ms": lambda ms: ms < 40,
    "hook_cursor_p50_ms": lambda ms: ms < 40,
    "hook_openhands_p50_ms": lambda ms: ms < 40,
    "warm_1_p50_ms": lambda ms: ms < 80,
    "warm_1_p95_ms": lambda ms: ms < 150,
    "warm_5_p50_ms": lambda ms: ms < 80,
    "warm_5_p95_ms": lambda ms: ms < 150,
    "warm_1_times_faster": lambda times: times >= 8,
    "stale_verdicts_in_1000": lambda count: count == 0,
}


def main() -> int:
    """Measure, print a line per figure, and a tally of the goals last."""
    parser = argparse.ArgumentParser(prog="python -m bench.redgreen", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="only these")
    chosen = parser.parse_args().parts or list(PARTS)
    missed = met = 0
    for part in chosen:
        for name, value in PARTS[part]().items():
            goal = GOALS.get(name)
            mark = "" if goal is None else "  goal met" if goal(value) else "  GOAL MISSED"
            met, missed = met + (mark == "  goal met"), missed + (mark == "  GOAL MISSED")
            print(f"redgreen.{part}.{name} = {value}{mark}", flush=True)
    print(f"bench.redgreen: {met} passed, {missed} failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
