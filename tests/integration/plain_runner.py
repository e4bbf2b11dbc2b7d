"""A runner of 30 ms: plain functions of plain files in a plain interpreter.

Coverage is by import: every test file of the little projects here needs every file in `app/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from penstock.core.redgreen.test_id import RunnerName, TestId
from penstock.core.redgreen.verdicts import RunVerdict
from penstock.kernel.runner import Collection, FoundTest, RunOrder, RunReport, TestOutcome

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
told = {}
for path in json.loads(sys.argv[2]):
    space = {}
    try:
        exec(compile(open(sys.argv[1] + "/" + path).read(), path, "exec"), space)
    except Exception as error:
        told[path] = "collect_error " + repr(error)
        continue
    for name, test in list(space.items()):
        if name.startswith("test_"):
            try:
                test()
                told[path + "::" + name] = "green"
            except AssertionError as error:
                told[path + "::" + name] = "red_assert " + str(error)
            except Exception as error:
                told[path + "::" + name] = "red_exception " + repr(error)
print(json.dumps(told))
"""


class PlainRunner:
    """`TestRunner` for `tests/test_*.py` of one tree."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self.runs = 0

    @property
    def name(self) -> RunnerName:
        return "pytest"

    @property
    def coverage(self) -> Literal["lines", "imports"]:
        return "imports"

    async def collect(self, files: Sequence[str] = ()) -> Collection:
        told = self._told(files or self._files())
        tests = [name for name in told if "::" in name]
        return Collection(tests=tuple(FoundTest(test=_id(name)) for name in tests))

    async def run(self, order: RunOrder) -> RunReport:
        self.runs += 1
        files = order.files or tuple(dict.fromkeys(test.path for test in order.tests)) or self._files()
        told = self._told(files)
        wanted = order.tests or tuple(_id(name) for name in told if "::" in name)
        return RunReport(outcomes=tuple(self._outcome(test, told) for test in wanted))

    async def close(self) -> None:
        pass

    def _outcome(self, test: TestId, told: dict[str, str]) -> TestOutcome:
        said = told.get(f"{test.path}::{test.chain[0]}") or told.get(test.path) or "not_run"
        verdict, _, message = said.partition(" ")
        needs = tuple(sorted(p.relative_to(self._top).as_posix() for p in (self._top / "app").glob("*.py")))
        return TestOutcome(test=test, verdict=_verdict(verdict), message=message, imported=needs)

    def _files(self) -> tuple[str, ...]:
        return tuple(sorted(p.relative_to(self._top).as_posix() for p in (self._top / "tests").glob("test_*.py")))

    def _told(self, files: Sequence[str]) -> dict[str, str]:
        words = [sys.executable, "-I", "-S", "-B", "-c", PROGRAM, str(self._top), json.dumps(list(files))]
        ended = subprocess.run(words, capture_output=True, check=True, timeout=30)
        told: dict[str, Any] = json.loads(ended.stdout)
        return {str(name): str(said) for name, said in told.items()}


def _id(name: str) -> TestId:
    path, _, function = name.partition("::")
    return TestId(runner="pytest", path=path, chain=(function,))


def _verdict(word: str) -> RunVerdict:
    assert word in ("green", "red_assert", "red_exception", "collect_error", "not_run"), word
    return word  # type: ignore[return-value]
