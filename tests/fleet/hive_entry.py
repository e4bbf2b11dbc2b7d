"""A hive as a process, with what a command line does not say: `python -m tests.fleet.hive_entry SETTINGS.json`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec

from penstock.core.fleet.policy import HivePolicy, WorkerPolicy
from penstock.fleet.errors import FleetError
from penstock.fleet.hive.options import HiveOptions
from penstock.fleet.hive.program import run_hive
from penstock.fleet.orders import Model


def main(settings: Path) -> int:
    """`models` is read anew each time, as a catalogue is."""
    told = json.loads(settings.read_text())
    if told["options"].get("parent_pid"):
        told["options"]["parent_pid"] = os.getppid()
    options = HiveOptions(
        **told["options"],
        home=settings.parent,
        models=lambda: msgspec.convert(json.loads(settings.read_text())["models"], list[Model]),
        policy=msgspec.convert(told["policy"], HivePolicy),
        worker_policy=msgspec.convert(told["worker_policy"], WorkerPolicy),
    )
    try:
        return run_hive(options)
    except FleetError as error:
        print(error.code, file=sys.stderr)
        return 6


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
