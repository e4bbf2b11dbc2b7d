"""`python -m tests.scenarios [--times N] [--stress] [--side-by-side N]`: all scenarios, again and again.

`--stress`: with every processor busy besides. `--side-by-side`: as many suites at the same time, which share nothing
but the machine. The last line is the tally.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.fleet.processes import tied_before_exec

FOLDER = Path(__file__).parent
SUMMARY = re.compile(r"(\d+) (passed|failed|skipped|error)")
BUSY = "import os, sys\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(10_000))\n"


def main() -> int:
    """1 where a scenario failed."""
    options = _parser().parse_args()
    counted: Counter[str] = Counter()
    begun = time.monotonic()
    with stressed(options.stress):
        for number in range(1, options.times + 1):
            counted += _run(options.side_by_side, options.pytest)
            took = time.monotonic() - begun
            print(f"{number} of {options.times}: {_tally(counted)}, {took:.0f} s", flush=True)
    print(f"{time.monotonic() - begun:.0f} s for {options.times} times {options.side_by_side} suites")
    print(f"scenarios: {_tally(counted)}")
    return 1 if counted["failed"] + counted["error"] or not counted["passed"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=sys.modules[__name__].__doc__)
    parser.add_argument("--times", type=int, default=1, help="one after the other")
    parser.add_argument("--stress", action="store_true", help="with processors that are busy")
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N", help="suites at the same time")
    parser.add_argument("pytest", nargs="*", help="for pytest, after --")
    return parser


def _run(suites: int, words: list[str]) -> Counter[str]:
    """Each suite by itself; what failed is shown."""
    workers = ["-n", "2", "--dist", "loadfile"]
    argv = [sys.executable, "-m", "pytest", str(FOLDER), "-q", "-p", "no:cacheprovider", *workers, *words]
    tie = tied_before_exec(os.getpid())
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, preexec_fn=tie) for _ in range(suites)]
    counted: Counter[str] = Counter()
    for suite in started:
        with suite:
            assert suite.stdout is not None
            said = suite.stdout.read()
        if suite.returncode:
            print(said, flush=True)
        counted.update(
            {kind: int(count) for count, kind in SUMMARY.findall(said[-1_000:].rstrip().rpartition("\n")[2])}
        )
        counted["error"] += suite.returncode not in (0, 1)
    return counted


def _tally(counted: Counter[str]) -> str:
    skipped = f", {counted['skipped']} skipped" if counted["skipped"] else ""
    return f"{counted['passed']} passed, {counted['failed'] + counted['error']} failed{skipped}"


@contextmanager
def stressed(is_wanted: bool) -> Iterator[None]:
    """As many processes as there are processors do nothing but count; they end with this one."""
    count = (os.cpu_count() or 1) if is_wanted else 0
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


if __name__ == "__main__":
    sys.exit(main())
