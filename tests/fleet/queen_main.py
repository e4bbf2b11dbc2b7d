"""Runs a queen: the options as JSON in the first argument, the file of its registry in the second, if it has one."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from penstock.adapters.hives_sqlite import SqliteHives
from penstock.fleet.queen.program import QueenOptions, run_queen
from penstock.fleet.queen.registry import HiveRegistry, InMemory


def main() -> int:
    options = msgspec.json.decode(sys.argv[1], type=QueenOptions)
    registry: HiveRegistry = SqliteHives(Path(sys.argv[2])) if len(sys.argv) > 2 else InMemory()
    return run_queen(options, registry)


if __name__ == "__main__":
    sys.exit(main())
