"""What a way round the gate is, and how it is tried: real files, a real gate, and no gate at all for the control.

An attack is tried twice. Round the first tree stands a gate in strict mode: the attack must not land, and the gate must
have answered in the way that the vector names. Round the second stands none: there the same attack must land, so that
an attack that does nothing is not taken for one that was held off.

- `blocked`: a call was refused, or what would have written was ended first;
- `restored`: what was written was seen and taken back;
- `marked`: it stands, and is told as what it is: no green, a weak pair, a test that proves nothing.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from penstock.core.redgreen import events as e
from penstock.core.redgreen.policy import Mode, RedGreenLimits
from penstock.core.redgreen.test_id import RunnerName
from penstock.core.redgreen.verdicts import PASSING, RED
from penstock.kernel.runner import Collection, RunOrder, RunReport, TestRunner
from penstock.kernel.runners.pytest_runner import PytestRunner
from penstock.kernel.tools.dispatcher import Answer
from tests.integration.gate_world import PROJECT, Gate, make_launcher, open_gate, write_files

Family = Literal["write", "forge", "runner", "claim", "time", "path", "mode"]
Right = Literal["blocked", "restored", "marked"]
Control = Literal["off", "stands", "bare", "believed", "run"]
"""`off`: the same session, its guard off. `stands`: off, and what nothing asked for stands in production. `bare`: plain
files and shells, no session. `believed`: off, and whoever goes by the exit status of a plain pytest is taken in.
`run`: off, and a plain pytest is run, however it ends."""

NO_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""What is installed beside the tests of this repository is none of the attacked project's, and slow to load."""
UNSEEN = frozenset({".git", "__pycache__", ".venv", ".pytest_cache"})
"""Directories that hold no production code."""
COMMAND_WALL_S = 30
WITHOUT_MUTANTS = RedGreenLimits(mutants_max=0)


@dataclass
class Watched(Gate):
    """A gate under attack: it remembers every answer, and what the attack itself saw."""

    answers: list[Answer] = field(default_factory=list)
    saw: set[Right] = field(default_factory=set)

    @property
    def outside(self) -> Path:
        """A directory beside the tree, where no gate looks."""
        return self.top.parent

    async def call(self, tool: str, **arguments: Any) -> Answer:
        answer = await super().call(tool, **arguments)
        self.answers.append(answer)
        return answer

    async def shell(self, command: str) -> Answer:
        return await self.call("shell", command=command)

    async def write(self, path: str, content: str) -> Answer:
        return await self.call("write_file", path=path, content=content)

    def events(self) -> list[e.RedGreenEvent]:
        return [record.event for record in self.session.world.log.read()]


@dataclass
class Bare(Watched):
    """No gate: calls are plain file operations, and end nothing."""

    async def call(self, tool: str, **arguments: Any) -> Answer:
        path = self.top / arguments.get("path", arguments.get("target", "."))
        match tool:
            case "shell":
                words = ["sh", "-c", arguments["command"]]
                subprocess.run(words, cwd=self.top, capture_output=True, timeout=COMMAND_WALL_S, check=False)
            case "write_file":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(arguments["content"])
            case "edit_file":
                path.write_text(path.read_text().replace(arguments["old"], arguments["new"]))
            case _:
                pass
        return Answer("")


class Idle:
    """Runs nothing: for controls that are about files alone."""

    name: RunnerName = "pytest"
    coverage: Literal["lines", "imports"] = "lines"

    async def collect(self, files: object = ()) -> Collection:
        return Collection()

    async def run(self, order: RunOrder) -> RunReport:
        return RunReport()

    async def close(self) -> None:
        """There is nothing to end."""


Attack = Callable[[Watched], Awaitable[None]]
Lands = Callable[[Watched], bool]


@dataclass(frozen=True)
class Vector:
    """One way round the gate. `lands`: whether it got what it wanted, read from real files and the ledger."""

    name: str
    family: Family
    right: Right
    attack: Attack
    lands: Lands
    control: Control = "off"
    files: Mapping[str, str] = field(default_factory=lambda: PROJECT)
    prepare: Callable[[Path], None] = lambda top: None
    limits: RedGreenLimits = WITHOUT_MUTANTS
    warm: bool = False
    plugins: bool = False
    """Whether pytest loads plugins that are installed."""
    command: tuple[str, ...] = (sys.executable,)
    """The interpreter; none: as the runner finds it."""
    runs: bool = False
    """Whether its control needs a runner too."""

    @property
    def needs_warmth(self) -> bool:
        """Only a warm runner plants mutants."""
        return self.limits.mutants_max > 0 and self.right == "marked"


@dataclass(frozen=True)
class Tried:
    """How a vector ended. `why`: empty where the gate held and the control landed."""

    vector: Vector
    why: str


async def tried(vector: Vector, directory: Path) -> Tried:
    """Try it with and without the gate, in directories of its own."""
    why = await against_the_gate(vector, directory / "guarded")
    return Tried(vector, why or await without_the_gate(vector, directory / "unguarded"))


async def against_the_gate(vector: Vector, directory: Path) -> str:
    """Why the gate did not hold; empty where it did."""
    gate = await opened(vector, directory, "strict")
    try:
        await vector.attack(gate)
        await gate.ended()
        if vector.lands(gate):
            return f"it got through: {told(gate)}"
        seen = answers_of(gate)
        return "" if vector.right in seen else f"not {vector.right} but {sorted(seen) or 'unanswered'}: {told(gate)}"
    finally:
        await gate.close()


async def without_the_gate(vector: Vector, directory: Path) -> str:
    """Why the control did not land; empty where it did."""
    gate = await opened(vector, directory, "off")
    try:
        if vector.control == "bare":
            gate = Bare(gate.top, gate.dispatcher)
        await vector.attack(gate)
        await gate.ended()
        return "" if CONTROLS.get(vector.control, vector.lands)(gate) else f"the control does nothing: {told(gate)}"
    finally:
        await gate.close()


async def opened(vector: Vector, directory: Path, mode: Mode) -> Watched:
    """A gate round the vector's files."""
    top = directory / "tree"
    write_files(top, vector.files)
    write_files(directory / "began", vector.files)
    vector.prepare(top)
    runner: TestRunner = Idle()
    if mode == "strict" or vector.runs:
        launcher = make_launcher(top, directory / "scratch")
        launcher = launcher if vector.plugins else replace(launcher, env=NO_PLUGINS)
        runner = PytestRunner(launcher, vector.command, warm=vector.warm)
    gate = await open_gate(directory, vector.files, mode, limits=vector.limits, runner=runner)
    return Watched(gate.top, gate.dispatcher)


# --- what was answered ----------------------------------------------------------------------------------------------


def answers_of(gate: Watched) -> set[Right]:
    """Everything that the gate did about it."""
    seen = set(gate.saw)
    for event in gate.events():
        match event:
            case e.EditRefused():
                seen.add("blocked")
            case e.UnclaimedWrite(is_restored=True):
                seen.add("restored")
            case e.EditReverted(why=why) if why != "not_written":
                seen.add("restored")
            case e.PairJudged(is_weak=True):
                seen.add("marked")
            case e.TestRun(purpose="flush", verdict=verdict) if verdict not in PASSING:
                seen.add("marked")
            case e.TestRun(purpose="ask", verdict=verdict) if verdict not in {"green", *RED}:
                seen.add("marked")
            case _:
                pass
    return seen | ({"blocked"} if any(_is_refused(answer) for answer in gate.answers) else set())


def _is_refused(answer: Answer) -> bool:
    return answer.is_error and ("refusal" in answer.data or not answer.data)


def told(gate: Watched) -> str:
    """What the gate said, in short."""
    return " | ".join(" ".join(answer.text.split())[:160] for answer in gate.answers if answer.text)


# --- what landed ----------------------------------------------------------------------------------------------------


def production(gate: Watched, top: Path) -> dict[str, str]:
    """Every guarded file as it stands below `top`: its content, and what kind of thing it is."""
    found = {}
    for directory, below, names in os.walk(top):
        below[:] = [name for name in below if name not in UNSEEN]
        links = [name for name in below if os.path.islink(os.path.join(directory, name))]
        for name in [*names, *links]:
            path = Path(directory, name)
            relative = path.relative_to(top).as_posix()
            if gate.session.kind(relative) in ("production", "protected"):
                found[relative] = _shown(path)
    return found


def _shown(path: Path) -> str:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return f"link to {os.readlink(path)}"
    if not stat.S_ISREG(status.st_mode):
        return "no file"
    with open(path, "rb") as file:
        return f"{status.st_mode & 0o777:o} {status.st_size} {file.read(100_000)!r}"


def is_altered(gate: Watched) -> bool:
    """Production code is not what it was when the session began."""
    return production(gate, gate.top) != production(gate, gate.outside / "began")


def is_stolen(gate: Watched) -> bool:
    """A line that nothing asked for stands in production code."""
    return any("stolen" in text for text in production(gate, gate.top).values())


def is_proven(gate: Watched) -> bool:
    """The gate vouches for a line that nothing asked for."""
    vouched = [event for event in gate.events() if isinstance(event, e.PairJudged) and not event.is_weak]
    return bool(vouched) and is_stolen(gate)


def is_believed(gate: Watched) -> bool:
    """A line that nothing asked for stands there, and a plain pytest ends with 0."""
    return run_plainly(gate) == 0 and is_stolen(gate)


def is_run(gate: Watched) -> bool:
    """A line that nothing asked for stands there after a plain pytest."""
    return run_plainly(gate) >= 0 and is_stolen(gate)


def run_plainly(gate: Watched) -> int:
    """Exit status of pytest."""
    words = [sys.executable, "-B", "-m", "pytest", "-q", "tests"]
    environment = {**os.environ, **NO_PLUGINS, "PYTHONPATH": str(gate.top)}
    ran = subprocess.run(words, cwd=gate.top, env=environment, capture_output=True, timeout=COMMAND_WALL_S, check=False)
    return ran.returncode


CONTROLS: Mapping[str, Lands] = {"believed": is_believed, "stands": is_stolen, "run": is_run}
