"""Try every way round the gate that is known: `python -m tests.bypass [NAME...]`. Exit 1 if one of them works."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.bypass.suite import VECTORS
from tests.bypass.vector import Vector, tried


def judged(vector: Vector) -> str:
    """Try one, and print how it went; why it failed."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="penstock-bypass-") as directory:
        why = asyncio.run(tried(vector, Path(directory))).why
    seconds = time.monotonic() - begun
    how = "FAILED  " if why else f"{vector.right:<8}"
    print(f"{how} {seconds:5.1f} s  {vector.family}: {vector.name}{f' ({why})' if why else ''}", flush=True)
    return why


def main() -> int:
    """Run the suite."""
    parser = argparse.ArgumentParser(prog="python -m tests.bypass", description=__doc__)
    parser.add_argument("names", nargs="*", help="only those whose family or name holds one of these")
    parser.add_argument("--runner", choices=("warm", "cold"), help="for all of them; else each has its own")
    chosen = parser.parse_args()
    wanted = [v for v in VECTORS if not chosen.names or any(n in f"{v.family}: {v.name}" for n in chosen.names)]
    if chosen.runner:
        wanted = [replace(vector, warm=chosen.runner == "warm" or vector.needs_warmth) for vector in wanted]
    failed = sum(bool(judged(vector)) for vector in wanted)
    print(f"bypass: {len(wanted) - failed} passed, {failed} failed")
    return 1 if failed or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
