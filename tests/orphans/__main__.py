"""`python -m tests.orphans [--times 100] [--only hive] [--seed N] [--aborts 10000] [--limit-s 3600]`.

Kinds of kills: `hive`, `queen`, `client` (of a fleet that somebody else started), `chain` (a client with a fleet of its
own), `runner` (a process that started a fleet as tests do). With `--aborts N`: as many requests that are broken off at
any moment, and as many against a queue that is full; memory is looked at too. What is chosen by chance follows from the
seed, which is printed.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import time

from tests.orphans.aborts import abort_many, fill_queue
from tests.orphans.kills import KINDS, Kills

ABORTS_KIND = "aborts"


def main() -> int:
    """1 where something was left, or a count is not what it should be."""
    options = _parser().parse_args()
    seed = options.seed if options.seed is not None else secrets.randbelow(2**32)
    print(f"seed {seed}", flush=True)
    deadline = time.monotonic() + options.limit_s
    kinds = [options.only] if options.only else [*KINDS, ABORTS_KIND]
    done = left = 0
    for kind in kinds:
        if kind != ABORTS_KIND:
            kills = Kills(kind, random.Random(f"{seed} {kind}"), deadline)
            kills.run(options.times)
            done, left = done + kills.done, left + kills.left
    aborts = "none"
    if ABORTS_KIND in kinds and options.aborts:
        told = [abort_many(options.aborts, random.Random(f"{seed} aborts")), fill_queue(options.aborts)]
        aborts = "; ".join(each.words for each in told)
        left += sum(not each.is_well for each in told)
    print(f"orphans: {done} kills, {left} left; aborts: {aborts}")
    return 1 if left else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.orphans", description=sys.modules[__name__].__doc__)
    parser.add_argument("--times", type=int, default=100, help="kills of each kind")
    parser.add_argument("--only", choices=[*KINDS, ABORTS_KIND])
    parser.add_argument("--seed", type=int)
    parser.add_argument("--aborts", type=int, default=10_000)
    parser.add_argument("--limit-s", type=int, default=3_600, help="no kill begins later")
    return parser


if __name__ == "__main__":
    sys.exit(main())
