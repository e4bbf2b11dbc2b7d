"""A queen or a hive with limits that no command line has: `python -m tests.scenarios.limited KIND OWNER_FD JSON`.

The same programs, with the same catalogue, token and keeper as the commands give them; all limits of `policy.py` may
be said, so that a scenario does not wait for a minute to see a worker hang.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from penstock.adapters.hives_sqlite import SqliteHives
from penstock.core.fleet.policy import HivePolicy, QueenPolicy, WorkerPolicy
from penstock.fleet.catalogue.catalogue import Catalogue
from penstock.fleet.choices import choose
from penstock.fleet.errors import FleetError
from penstock.fleet.hive.options import HiveOptions
from penstock.fleet.hive.program import run_hive
from penstock.fleet.processes import name_process
from penstock.fleet.queen.program import QueenOptions, run_queen
from penstock.wire.fleet import KEEPER, WORKER, tie


def queen(owner_fd: int, told: dict[str, Any]) -> int:
    """`policy`: of `QueenPolicy`. The rest is `QueenOptions`."""
    policy = msgspec.convert(told.pop("policy"), QueenPolicy)
    tie(True, owner_fd)
    chosen = choose(os.environ)
    name_process("penstock queen")
    options = QueenOptions(**told, token=chosen.token(os.environ), policy=policy)
    return run_queen(options, SqliteHives(Path(chosen.home) / "registry.db"))


def hive(owner_fd: int, told: dict[str, Any]) -> int:
    """`policy`: of `HivePolicy`, `worker`: of `WorkerPolicy`. The rest is `HiveOptions`."""
    chosen = choose(os.environ)
    limits = {"port_first": 0, "port_last": 0, **told.pop("policy")}
    options = HiveOptions(
        policy=msgspec.convert(limits, HivePolicy),
        worker_policy=msgspec.convert(told.pop("worker"), WorkerPolicy),
        home=Path(chosen.home),
        models=Catalogue(Path(chosen.home)).models,
        token=chosen.token(os.environ),
        keeper=KEEPER,
        cold=WORKER,
        parent_pid=os.getppid(),
        **told,
    )
    tie(False, owner_fd)
    return run_hive(options)


def main(kind: str, owner_fd: int, told: dict[str, Any]) -> int:
    """The exit status."""
    try:
        return {"queen": queen, "hive": hive}[kind](owner_fd, told)
    except FleetError as error:
        print(error, file=sys.stderr)
        return 6


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])))
