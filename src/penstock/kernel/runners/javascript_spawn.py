"""One spawn of the project's own Node, with a program of ours that drives a test runner and reports over a pipe.

The nonce goes in with the order, on standard input, and never through the environment: what a process was started with
can be read by its children for as long as it lives. What remains: tests run as the same user, and who reads the memory
of the parent process, or writes to what its runner reports through, can forge. This is sight, not a guard; confinement
and the look at what was changed are the guard.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from penstock.core.redgreen.source_text import titled_tests
from penstock.core.redgreen.test_id import BadTestId, RunnerName, TestId, canonical_path
from penstock.core.redgreen.verdicts import RunVerdict
from penstock.kernel.launching import Launcher, make_nonce
from penstock.kernel.runner import OUTPUT_BYTES_MAX, Collection, FoundTest, RunOrder, RunReport, TestOutcome
from penstock.kernel.runners.javascript import Reading, Tree, parse
from penstock.kernel.runners.javascript_modules import needs

SIDE = Path(__file__).parent / "javascript_side"
NOTE_CHARS_MAX = 600
COLLECT_WALL_MS = 120_000

Chains = dict[str, list[tuple[str, ...]]]
"""What to run: the chains of each file, all of the file where there are none; all files when empty."""


@dataclass(frozen=True)
class Wanted:
    """What the program is to do. `without`: directories that a run of all files spares itself."""

    only: Chains
    is_collection: bool = False
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heard:
    """What was heard of one run, and how it ended. `failure`: why there is nothing to be believed."""

    reading: Reading
    output: bytes = b""
    timed_out: bool = False
    failure: str = ""
    is_warm: bool = False
    note: str = ""


class JavaScriptRunner:
    """What the runners of JavaScript share; `program` is the file of `javascript_side` that knows the technology.

    `directory`: of the project, from the root; the programs know its files from there.
    """

    runner: RunnerName
    program: str

    def __init__(self, launcher: Launcher, node: Sequence[str] = ("node",), directory: str = "") -> None:
        self._launcher = launcher
        self._node = tuple(node)
        self._directory = directory

    @property
    def name(self) -> RunnerName:
        """Which technology."""
        return self.runner

    @property
    def coverage(self) -> Literal["lines", "imports"]:
        """Outcomes say what the test's file imports."""
        return "imports"

    async def close(self) -> None:
        """Nothing is kept."""

    async def collect(self, files: Sequence[str] = ()) -> Collection:
        """The titles of these files, of the whole tree when empty; files that cannot be loaded are `broken`."""
        chains: Chains = {path: [] for path in files if self._exists(path)}
        if files and not chains:
            return Collection()
        heard = await self._hear(Wanted(chains, is_collection=True), COLLECT_WALL_MS)
        why = heard.failure or ("it did not end in time" if heard.timed_out else "")
        if why:
            return Collection(note=why)
        lines = {key: told[0].line for key, told in heard.reading.tests.items()}
        found = [FoundTest(test=test, line=lines[test.path, test.chain]) for test in heard.reading.ids()]
        return Collection(tests=tuple(found), broken=heard.reading.broken())

    async def run(self, order: RunOrder) -> RunReport:
        """Run in one spawn, and judge each test by what was told of it in this run."""
        begun = time.monotonic()
        chains = self._chains(order)
        asks_for_some = bool(order.tests or order.files)
        if asks_for_some and not chains:
            return RunReport(outcomes=tuple(TestOutcome(test=t, verdict="not_run") for t in order.tests), spawned=0)
        heard = await self._hear(Wanted(chains, without=order.without), order.wall_ms)
        tests = order.tests or (*heard.reading.ids(), *self._titled(heard))
        return RunReport(
            outcomes=self._outcomes(heard, tests),
            is_warm=heard.is_warm,
            note="; ".join(filter(None, (heard.failure, heard.note, *self._unloaded(heard, order))))[:NOTE_CHARS_MAX],
            duration_ms=round((time.monotonic() - begun) * 1_000),
            output=heard.output[-OUTPUT_BYTES_MAX:],
        )

    # --- what to run ------------------------------------------------------------------------------------------------

    def _chains(self, order: RunOrder) -> Chains:
        chains: Chains = {path: [] for path in order.files if not order.tests and self._exists(path)}
        for test in order.tests:
            if test.runner == self.runner and test.param is None and self._exists(test.path):
                chains.setdefault(test.path, []).append(test.chain)
        return chains

    def _exists(self, path: str) -> bool:
        try:
            return (self._launcher.top / canonical_path(path)).is_file()
        except BadTestId:
            return False

    # --- one spawn --------------------------------------------------------------------------------------------------

    async def _hear(self, wanted: Wanted, wall_ms: int) -> Heard:
        return await self._spawn(wanted, wall_ms)

    async def _spawn(self, wanted: Wanted, wall_ms: int) -> Heard:
        nonce = make_nonce()
        shown = self._launcher.show(SIDE, "javascript")
        ran = await self._launcher.run(
            (*self._node, f"{shown.at}/{self.program}"),
            shown=(shown,),
            stdin=self._line(nonce, wanted),
            cwd=self._launcher.inside(self._directory),
            wall_ms=wall_ms,
            pipe_env="PENSTOCK_VERDICT_FD",
        )
        reading = self._reading()
        for told in parse(nonce, ran.end.pipe):
            reading.take(told)
        timed_out = ran.end.outcome == "timeout"
        failure = "" if timed_out else failure_of(reading, ran.end.message, ran.stderr)
        return Heard(reading, bytes(reading.output) + ran.stdout + ran.stderr, timed_out, failure)

    def _line(self, nonce: str, wanted: Wanted) -> bytes:
        """The order as the programs read it: paths from the project's directory."""
        only = {os.path.relpath(path, self._directory or "."): chains for path, chains in wanted.only.items()}
        without = [os.path.relpath(path, self._directory or ".") for path in wanted.without]
        order = {"nonce": nonce, "only": only, "collect": wanted.is_collection, "without": without}
        return msgspec.json.encode(order) + b"\n"

    def _reading(self) -> Reading:
        return Reading(self.runner, Tree(self._launcher.top, self._launcher.root, self._directory))

    # --- what is reported -------------------------------------------------------------------------------------------

    def _outcomes(self, heard: Heard, tests: Sequence[TestId]) -> tuple[TestOutcome, ...]:
        otherwise = silent_verdict(heard)
        imported = {path: needs(self._launcher.top, path) for path in sorted({test.path for test in tests})}
        return tuple(
            msgspec.structs.replace(heard.reading.outcome(test, otherwise), imported=imported[test.path])
            for test in tests
        )

    def _titled(self, heard: Heard) -> list[TestId]:
        """Tests of files that could not be loaded, by the titles that stand in them: each has the file's own fate."""
        found = []
        for path in sorted(heard.reading.broken()):
            if self._exists(path):
                source = (self._launcher.top / path).read_text(errors="replace")
                chains = dict.fromkeys(titled_tests(source).values())
                found += [TestId(runner=self.runner, path=path, chain=chain) for chain in chains]
        return [test for test in found if test not in heard.reading.ids()]

    def _unloaded(self, heard: Heard, order: RunOrder) -> list[str]:
        """Files that nobody asked for by a test, and that could not be loaded."""
        return [] if order.tests else [f"{path}: {why}" for path, why in heard.reading.broken().items()]


def failure_of(reading: Reading, message: str, stderr: bytes) -> str:
    """Why the runner itself failed, empty where it did not."""
    if reading.end is not None:
        return reading.end.note[:NOTE_CHARS_MAX]
    if reading.has_begun:
        return ""
    return (message or stderr.decode(errors="replace").strip()[-NOTE_CHARS_MAX:]) or "it said nothing"


def silent_verdict(heard: Heard) -> RunVerdict:
    """The verdict of a test of which nothing was told."""
    if heard.timed_out:
        return "timeout"
    if heard.failure:
        return "runner_error"
    is_dead = heard.reading.end is None or any(stray.crashed for stray in heard.reading.strays)
    return "crash" if is_dead else "not_run"
