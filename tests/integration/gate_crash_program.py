"""Works one turn under a gate and is killed at the step that the command line names: `PROGRAM DIRECTORY STEP`.

A step is what can be durable: an append to the ledger or a write to the tree, before it and after it. With step 0
nothing is killed; the number of steps is printed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from penstock.core.digest import Digest
from penstock.core.redgreen import events as e
from penstock.core.redgreen.entry import Entry
from penstock.kernel.tree.writer import PathRefused, Restored, TreeWriter
from penstock.ports import ChainedLog
from tests.integration.gate_world import Gate, open_gate
from tests.integration.plain_runner import PlainRunner

FILES = {
    "app/__init__.py": "",
    "app/money.py": "def double(n):\n    return n * 2\n",
    "app/tax.py": "def tax(n):\n    return n // 5\n",
    "tests/test_money.py": "from app import money\n\n\ndef test_double():\n    assert money.double(4) == 8\n",
}
NEW_TEST = (
    "from app import money, tax\n\n\n"
    "def test_triple():\n    assert money.triple(3) == 9\n\n\n"
    "def test_gross():\n    assert tax.gross(100) == 120\n"
)


class Steps:
    """Counts, and kills this process at one of them."""

    def __init__(self, deadly: int) -> None:
        self.count, self._deadly = 0, deadly

    def step(self) -> None:
        self.count += 1
        if self.count == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyLog:
    """A ledger whose appends are steps."""

    def __init__(self, log: ChainedLog[e.RedGreenRecord], steps: Steps) -> None:
        self._log, self._steps = log, steps

    def append(self, records: Sequence[e.RedGreenRecord]) -> Digest:
        self._steps.step()
        head = self._log.append(records)
        self._steps.step()
        return head

    def read(self, after: int = 0) -> Iterator[e.RedGreenRecord]:
        return self._log.read(after)

    def head(self) -> tuple[int, Digest]:
        return self._log.head()

    def close(self) -> None:
        self._log.close()


class DeadlyWriter(TreeWriter):
    """A writer whose writes are steps, file by file."""

    steps: Steps

    def restore(self, changes: Mapping[str, tuple[Entry | None, Entry | None]]) -> Restored:
        restored: list[str] = []
        refused: list[PathRefused] = []
        for path, change in changes.items():
            self.steps.step()
            done = super().restore({path: change})
            restored += done.restored
            refused += done.refused
            self.steps.step()
        return Restored(restored=tuple(restored), refused=tuple(refused))


async def prepare(directory: Path) -> Gate:
    """The gate at the beginning of the turn."""
    return await open_gate(directory, FILES, runner=PlainRunner(directory / "tree"))


async def work(gate: Gate) -> None:
    """Two tests are red; one edit is right, one breaks what was green."""
    await gate.call("write_file", path="tests/test_new.py", content=NEW_TEST)
    await gate.call("run_tests", tests=["tests/test_new.py"])
    triple, gross = "tests/test_new.py::test_triple", "tests/test_new.py::test_gross"
    await gate.call("claim", test=gross, paths=["app/tax.py"])
    text = "def tax(n):\n    return n // 5\n\n\ndef gross(n):\n    return n + tax(n)\n"
    await gate.call("write_file", path="app/tax.py", content=text, test=gross)
    await gate.call("claim", test=triple, paths=["app/money.py"])
    text = "def double(n):\n    return n * 3\n\n\ndef triple(n):\n    return n * 3\n"
    await gate.call("write_file", path="app/money.py", content=text, test=triple)
    await gate.call("end_turn")


async def main(directory: Path, deadly: int) -> None:
    gate = await prepare(directory)
    steps = Steps(deadly)
    world = gate.session.world
    world.log = DeadlyLog(world.log, steps)
    writer = DeadlyWriter(gate.top, world.blobs)
    writer.steps = steps
    world.writer = writer
    await work(gate)
    await gate.close()
    print(steps.count)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
