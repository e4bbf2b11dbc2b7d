"""What the runners of Python tests share: one order to the project's interpreter, and what came back over the pipe.

The files in `python_side/` are all that is shown to it. Records are believed when they carry this run's nonce, came
over the inherited pipe, and say what was seen; what is missing is never made up:

- a test that ended has the verdict it ended with; of two words about one test the one that is not green counts;
- one that began and did not end is `timeout` where the deadline struck, else `crash`;
- one whose file cannot be loaded has that verdict, and one that no file has is `not_run`;
- where not even the runner was loaded, the fault is the runner's.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from penstock.core.redgreen.test_id import BadTestId, RunnerName, TestId, from_wire
from penstock.core.redgreen.verdicts import RUN_VERDICTS, RunVerdict
from penstock.kernel.launching import Launcher, Ran, make_nonce
from penstock.kernel.project import upward
from penstock.kernel.runner import (
    MESSAGE_CHARS_MAX,
    OUTPUT_BYTES_MAX,
    Collection,
    FoundTest,
    RunOrder,
    RunReport,
    TestOutcome,
)

SIDE = Path(__file__).parent / "python_side"
START = "import sys; sys.path[0] = {at!r}; from penstock_side import {module}; {module}.main()"
CALLED = frozenset({"pytest", "py.test"})
"""A program that is an interpreter and the runner in one: we start the interpreter beside it."""
ADDED = ("PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE")
USAGE_STATUSES = frozenset({3, 4})
"""pytest's own: an internal error, a wrong call."""
COLLECT_WALL_MS = 60_000


class Asked(msgspec.Struct, frozen=True):
    """An order as the interpreter of the project gets it."""

    runner: RunnerName
    root: str
    project: str
    """Directory of the project, as the root is: where pytest is started."""
    tests: list[Any] | None
    files: list[str]
    arguments: list[str]
    collect: bool = False
    lines: bool = True
    until_noticed: bool = False
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interpreter:
    """How the project's Python is started. `command` may end in `-m pytest` and options: they are handed on."""

    launcher: Launcher
    command: tuple[str, ...] = ()
    directory: str = ""
    """Of the project, from the root."""

    @property
    def cwd(self) -> str:
        """Where it is started, as those inside see it."""
        return self.launcher.inside(self.directory)

    def start(self, at: str, module: str) -> list[str]:
        """Arguments that start a module of ours, whose directory has the place `at`."""
        program, *more = self._split()[0] or (self._found(),)
        if "/" in program and not program.startswith("/"):
            program = self._nearest(program) or program
        return [program, *more, "-B", "-c", START.format(at=at, module=module)]

    @property
    def options(self) -> list[str]:
        """Of the test runner."""
        return list(self._split()[1])

    def _split(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        called = next((at for at, word in enumerate(self.command) if word.rpartition("/")[2] in CALLED), None)
        if "-m" not in self.command and called is not None:
            return (*self.command[:called], *(("python",) if called else ())), self.command[called + 1 :]
        if "-m" not in self.command:
            return self.command, ()
        at = self.command.index("-m")
        return self.command[:at], self.command[at + 2 :]

    def _found(self) -> str:
        """The project's own environment, or one above it, else the `python3` of those inside, else ours."""
        own = self._nearest(".venv/bin/python")
        if own is not None:
            return own
        if self.launcher.is_confined or shutil.which("python3", path=self.launcher.env.get("PATH")):
            return "python3"
        return sys.executable

    def _nearest(self, file: str) -> str | None:
        """A file of the project or above it, as those inside see it."""
        there = (each for each in upward(self.directory) if (self.launcher.top / each / file).exists())
        return next((f"{self.launcher.inside(each)}/{file}" for each in there), None)


def asked_for(order: RunOrder, runner: RunnerName, interpreter: Interpreter) -> Asked:
    """The order in the interpreter's terms."""
    files = order.files or tuple(dict.fromkeys(test.path for test in order.tests))
    return Asked(
        runner=runner,
        root=interpreter.launcher.root,
        project=interpreter.cwd,
        tests=[test.wire for test in order.tests] if order.tests else None,
        files=list(files),
        arguments=interpreter.options,
        without=order.without,
    )


async def spawn(asked: Asked, interpreter: Interpreter, wall_ms: int) -> Heard:
    """Carry out one order in a fresh interpreter."""
    launcher = interpreter.launcher
    directory = launcher.scratch_directory()
    try:
        (directory / "order.json").write_bytes(msgspec.json.encode(asked))
        side, job = launcher.show(SIDE, "python"), launcher.show(directory, "order")
        nonce = make_nonce()
        env = {"PENSTOCK_NONCE": nonce, "PENSTOCK_ORDER": f"{job.at}/order.json", **dict.fromkeys(ADDED, "")}
        ran = await launcher.run(
            interpreter.start(side.at, "entry"),
            env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
            shown=(side, job),
            cwd=interpreter.cwd,
            wall_ms=wall_ms,
            pipe_env="PENSTOCK_VERDICT_FD",
        )
        return heard_from(ran, nonce)
    finally:
        await asyncio.to_thread(launcher.discard, directory)


# --- what came back -------------------------------------------------------------------------------------------------


@dataclass
class Heard:
    """One run as it was told."""

    is_killed: bool
    """By the deadline."""
    why: str
    """How the process ended, in words; empty where it ended of itself."""
    output: bytes
    duration_ms: int
    loaded: bool = False
    collected: bool = False
    status: int | None = None
    """What the test runner ended with; None: it did not get to its end."""
    found: dict[TestId, int] = field(default_factory=dict)
    begun: set[TestId] = field(default_factory=set)
    ended: dict[TestId, TestOutcome] = field(default_factory=dict)
    broken: dict[str, TestOutcome] = field(default_factory=dict)
    """By path; the empty path stands for all."""
    import_lines: dict[str, str] = field(default_factory=dict)

    def listen(self, pipe: bytes, nonce: str) -> None:
        """Take in what carries the nonce."""
        for line in pipe.split(b"\n"):
            said, _, rest = line.partition(b" ")
            if said == nonce.encode():
                try:
                    self._take(msgspec.json.decode(rest))
                except (msgspec.MsgspecError, BadTestId, KeyError, TypeError):
                    continue

    def _take(self, record: dict[str, Any]) -> None:
        match record["t"]:
            case "loaded":
                self.loaded = True
            case "found":
                self.found[from_wire(record["id"])] = record["line"]
            case "collected":
                self.collected = True
            case "broken":
                self.broken.setdefault(record["path"], _outcome(_NOBODY, record))
            case "start":
                self.begun.add(from_wire(record["id"]))
            case "end":
                self._end(_outcome(from_wire(record["id"]), record))
            case "finished":
                self.status, self.import_lines = record["status"], record["import_lines"]
            case _:
                pass

    def _end(self, outcome: TestOutcome) -> None:
        before = self.ended.get(outcome.test)
        if before is None or before.verdict == "green":
            self.ended[outcome.test] = outcome

    # --- what it amounts to -----------------------------------------------------------------------------------------

    def outcome_of(self, test: TestId) -> TestOutcome:
        """The verdict on a test that was asked for."""
        if test in self.ended:
            return self.ended[test]
        if self.is_killed:
            return TestOutcome(test=test, verdict="timeout", message=self.why)
        if test in self.begun:
            return TestOutcome(test=test, verdict="crash", message=self.why)
        for path in (test.path, ""):
            if path in self.broken:
                return msgspec.structs.replace(self.broken[path], test=test)
        verdict, why = self._without_a_word()
        return TestOutcome(test=test, verdict=verdict, message=why)

    def _without_a_word(self) -> tuple[RunVerdict, str]:
        if not self.loaded or self.status in USAGE_STATUSES:
            return "runner_error", self.note or "the test runner was called wrongly"
        if self.status is None and not self.collected:
            return "crash", f"the process ended while the tests were loaded{self.why and ': '}{self.why}"
        if self.status is None:
            return "not_run", f"the process ended before its turn{self.why and ': '}{self.why}"
        return "not_run", ""

    @property
    def note(self) -> str:
        """What went wrong with the runner itself."""
        if self.loaded and self.status not in USAGE_STATUSES:
            return ""
        said = [line for line in self.output.decode("utf-8", "replace").splitlines() if line.strip()]
        return "; ".join(filter(None, (self.why, *said[-3:])))[-MESSAGE_CHARS_MAX:]

    def report(self, tests: Sequence[TestId], *, is_warm: bool = False, note: str = "") -> RunReport:
        """Of the tests asked for; of all that were found where none was."""
        return RunReport(
            outcomes=tuple(
                map(self.outcome_of, tests or [*self.found, *(t for t in self.ended if t not in self.found)])
            ),
            is_warm=is_warm,
            note="; ".join(filter(None, (note, self.note))),
            duration_ms=self.duration_ms,
            import_lines=self.import_lines,
            output=self.output[-OUTPUT_BYTES_MAX:],
        )

    def collection(self) -> Collection:
        """What was found."""
        broken = {path: outcome.message for path, outcome in self.broken.items()}
        unheard = "" if self.status is not None else self.why or "the process ended while the tests were loaded"
        found = tuple(FoundTest(test=test, line=line) for test, line in self.found.items())
        return Collection(tests=found, broken=broken, note=self.note or unheard)


_NOBODY = TestId(runner="pytest", path="-", chain=("-",))


def heard_from(ran: Ran, nonce: str) -> Heard:
    """What a cold spawn told."""
    end = ran.end
    why = end.message
    if end.outcome == "signaled" and end.exit_status:
        why = f"killed by signal {end.exit_status - 128}"
    elif end.outcome == "exited" and end.exit_status:
        why = f"exit status {end.exit_status}"
    heard = Heard(end.outcome == "timeout", why, ran.stdout + ran.stderr, end.duration_ms)
    heard.listen(end.pipe, nonce)
    return heard


def _outcome(test: TestId, record: dict[str, Any]) -> TestOutcome:
    if record["verdict"] not in RUN_VERDICTS:
        raise KeyError(record["verdict"])
    return TestOutcome(
        test=test,
        verdict=record["verdict"],
        exception=record["exception"],
        where=record["where"],
        message=record["message"][:MESSAGE_CHARS_MAX],
        duration_ms=record.get("ms", 0),
        executed=record.get("executed", {}),
        imported=tuple(record.get("imported", ())),
        phantoms=tuple(record["phantoms"]),
        unfollowed=tuple(record.get("unfollowed", ())),
    )


# --- the runner -----------------------------------------------------------------------------------------------------


class PythonRunner:
    """What every runner of Python tests does, whatever the technology."""

    coverage: Literal["lines", "imports"] = "lines"

    def __init__(self, name: RunnerName, launcher: Launcher, command: tuple[str, ...], directory: str) -> None:
        self._name = name
        self._interpreter = Interpreter(launcher, command, directory)

    @property
    def name(self) -> RunnerName:
        """Which technology."""
        return self._name

    async def collect(self, files: Sequence[str] = ()) -> Collection:
        """Tests of these files, of the whole tree when empty. Never raises: a failure is a `note`."""
        asked = asked_for(RunOrder(files=tuple(files)), self._name, self._interpreter)
        asked = msgspec.structs.replace(asked, collect=True, lines=False)
        return (await self._carry_out(asked, COLLECT_WALL_MS))[0].collection()

    async def run(self, order: RunOrder) -> RunReport:
        """Run and report. Never raises: a failure is `runner_error`, `timeout` or `crash` of each test it hit."""
        ours, strangers = parted(order.tests, self._name)
        if order.tests and not ours:
            return RunReport(outcomes=tuple(strangers), spawned=0)
        asked = asked_for(msgspec.structs.replace(order, tests=tuple(ours)), self._name, self._interpreter)
        heard, is_warm, note = await self._carry_out(asked, order.wall_ms)
        return heard.report(order.tests, is_warm=is_warm, note=note)

    async def close(self) -> None:
        """End what is kept warm; idempotent. No process is left."""

    async def _carry_out(self, asked: Asked, wall_ms: int) -> tuple[Heard, bool, str]:
        """What was heard, whether warm, and why not."""
        return await spawn(asked, self._interpreter, wall_ms), False, ""


def parted(tests: Iterable[TestId], name: RunnerName) -> tuple[list[TestId], list[TestOutcome]]:
    """Tests of this technology, and what is to be said of others."""
    ours = [test for test in tests if test.runner == name]
    others = [TestOutcome(test=test, verdict="not_run") for test in tests if test.runner != name]
    return ours, others
