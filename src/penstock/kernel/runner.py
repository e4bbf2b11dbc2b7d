"""The port to test runners: exactly these tests, in one spawn, each with its own verdict observed in this very run.

An exit status is never a verdict. What cannot be told is `not_run` or `runner_error`, never green and never red. One
conformance suite (`tests/contract/test_runners.py`) holds for every runner, cold and warm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from penstock.core.policy import Frozen
from penstock.core.redgreen.test_id import RunnerName, TestId
from penstock.core.redgreen.verdicts import RunVerdict

MESSAGE_CHARS_MAX = 400
OUTPUT_BYTES_MAX = 200_000

Lines = dict[str, str]
"""Executed lines by path (relative to the root, files of the tree only): `{"app/money.py": "3-7,12"}`."""


class RunOrder(Frozen):
    """Run exactly `tests`, in one spawn; or every test of `files`; or, with neither, the whole suite."""

    tests: tuple[TestId, ...] = ()
    files: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    """Directories of other projects below ours, which a run of the whole suite may spare itself."""
    wall_ms: int = 60_000
    """After it the whole process tree is killed; tests without a last word are `timeout`."""


class TestOutcome(Frozen):
    """What one test did in this run."""

    __test__ = False
    test: TestId
    verdict: RunVerdict
    exception: str = ""
    """Class name of what made it red."""
    where: str = ""
    """`path:line` of the deepest frame inside the tree."""
    message: str = ""
    duration_ms: int = 0
    executed: Lines = {}
    """Lines run by the test's own set-up, call and tear-down; nothing that an import ran. Empty without coverage."""
    imported: tuple[str, ...] = ()
    """Files of the tree that the test's module needs, directly or through others."""
    phantoms: tuple[str, ...] = ()
    """Files of the tree that do not exist yet, or lack the name asked for, and that the test touched."""
    unfollowed: tuple[str, ...] = ()
    """Files of which it may have run more lines than are told: it ran for too long to be followed to its end."""


class RunReport(Frozen):
    """One run. `outcomes`: one for each test asked for, in that order; for files or the suite, each test found."""

    outcomes: tuple[TestOutcome, ...] = ()
    spawned: int = 1
    """Processes started that loaded the project; the confirmation of a warm run is a fork and counts too."""
    is_warm: bool = False
    note: str = ""
    """Why it was cold, or what went wrong, in words."""
    duration_ms: int = 0
    import_lines: Lines = {}
    """Lines that imports ran, whoever imported: class and function heads, constants."""
    output: bytes = b""
    """The end of what it printed, at most `OUTPUT_BYTES_MAX`."""


class FoundTest(Frozen):
    """A test that collection found. `line`: of its definition, 0 where the runner does not say."""

    test: TestId
    line: int = 0


class Collection(Frozen):
    """What is there to run. `broken`: what cannot be collected, `path` -> why."""

    tests: tuple[FoundTest, ...] = ()
    broken: dict[str, str] = {}
    note: str = ""
    """Not empty: the runner itself failed, and nothing is known."""


class TestRunner(Protocol):
    """Runs the tests of one technology in one project of a working tree; paths are relative to the tree's root."""

    @property
    def name(self) -> RunnerName:
        """Which technology."""

    @property
    def coverage(self) -> Literal["lines", "imports"]:
        """Whether outcomes say which lines each test ran, or only what its file imports."""

    async def collect(self, files: Sequence[str] = ()) -> Collection:
        """Tests of these files, of the whole tree when empty. Never raises: a failure is a `note`."""

    async def run(self, order: RunOrder) -> RunReport:
        """Run and report. Never raises: a failure is `runner_error`, `timeout` or `crash` of each test it hit."""

    async def close(self) -> None:
        """End what is kept warm; idempotent. No process is left."""


class MutationOrder(Frozen):
    """Break the changed lines one at a time, and see whether the tests notice."""

    tests: tuple[TestId, ...]
    lines: Lines
    """The changed lines that the tests cover."""
    wall_ms: int = 1_000
    mutants_max: int = 20


class Mutant(Frozen):
    """One planted defect: `path:line`, what it did, and whether a test noticed."""

    path: str
    line: int
    what: str
    """`a + b` -> `a - b`"""
    is_noticed: bool


class MutationReport(Frozen):
    """`mutants`: those that were tried within the budget. `note`: why none was, or why fewer."""

    mutants: tuple[Mutant, ...] = ()
    note: str = ""


class Mutator(Protocol):
    """Plants defects without writing to the tree."""

    async def mutate(self, order: MutationOrder) -> MutationReport:
        """Never raises: a failure is a `note`."""
