"""What `penstock doctor` says of red-green: the mode in force, what this repository can bear, who writes past the gate.

It has to be quick: tests are collected for a moment only, and of languages that would have to be built not at all.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.redgreen.binding import annotations_in, duplicates
from penstock.core.redgreen.commands import split
from penstock.core.redgreen.policy import RedGreenPolicy, kind_of
from penstock.core.redgreen.test_id import RunnerName
from penstock.evidence.words import counted
from penstock.kernel.launching import Launcher
from penstock.kernel.project import Project, upward
from penstock.kernel.runner import Collection
from penstock.ports import BadInput, Checkout, Confinement, Corrupt
from penstock.settings.redgreen import VARIABLE
from penstock.wire.finding import Finding, Level, bad
from penstock.wire.foreign_servers import foreign_servers
from penstock.wire.gate_client import connect
from penstock.wire.gate_place import GatePlace, Mode, gate_place, policy_in_force
from penstock.wire.hooks import Seen, seen_hooks
from penstock.wire.plan_card import plan_here
from penstock.wire.projects import Projects
from penstock.wire.runners import make_runner

FILES_MAX = 20_000
SOURCE_BYTES_MAX = 1_000_000
COLLECT_S_MAX = 1.5
COLLECTED_FILES_MAX = 20
ANSWER_S_MAX = 1.0
CHARACTERISE = 'write a first test of what the code does today, or set [redgreen] mode = "warn" and use refactor mode'
TEST = re.compile(rb"^[ \t]*(?:async )?def test", re.M)
PYTHON: tuple[RunnerName, ...] = ("pytest", "unittest")


def examine_redgreen(directory: Path, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Everything about red-green; nothing where there is no repository, or where its settings cannot be read."""
    try:
        place, mode = gate_place(directory), policy_in_force(directory, environ)
    except BadInput as wrong:
        yield from (bad(problem) for problem in wrong.problems if problem.field == VARIABLE)
        return
    projects = Projects(place.top, mode.policy).among(files_known(place.top))
    tests = test_files(place.top, mode.policy)
    yield mode_in_words(mode)
    yield from runners_there(place.top, projects)
    yield bears_strict(place.top, mode.policy, tests)
    yield from names_given_twice(place.top, tests)
    yield from plan_without_files(place)
    yield from foreign_writers(place.top)
    yield from hooks_tried(directory)
    yield from gate_running(directory, mode.policy)


def mode_in_words(mode: Mode) -> Finding:
    """The mode in force, and from where."""
    return Finding(level="ok", what=f"red-green: mode {mode.policy.mode}, from {_origin(mode.origin)}")


def _origin(origin: str) -> str:
    return "the default" if origin == "default" else origin


# --- tests and their runners ----------------------------------------------------------------------------------------


def files_known(top: Path) -> list[str]:
    """Files that git knows or would add."""
    asked = ["git", "-C", str(top), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(asked, capture_output=True).stdout.split(b"\0")[:FILES_MAX]
    return [os.fsdecode(path) for path in listed if path]


def test_files(top: Path, policy: RedGreenPolicy) -> dict[str, Project]:
    """Test files, and who runs each."""
    projects = Projects(top, policy)
    tests = (path for path in files_known(top) if kind_of(policy, path) == "test")
    found = ((path, projects.of(path)) for path in tests)
    return {path: project for path, project in found if project is not None}


test_files.__test__ = False  # type: ignore[attr-defined]


def runners_there(top: Path, projects: Sequence[Project]) -> Iterator[Finding]:
    """Which test runners are set up, and those whose program is missing."""
    if projects:
        named = dict.fromkeys(project.words for project in projects)
        yield Finding(level="ok", what=f"test runners: {', '.join(named)}")
    for project in projects:
        program, fix = _missing_program(top, project)
        if program:
            what = f"{project.words}: {program} is missing, so its tests cannot be run"
            yield Finding(level="warn", what=what, fix=fix)


def _missing_program(top: Path, project: Project) -> tuple[str, str]:
    """What is missing, and the fix."""
    name, places = project.runner, [top / each for each in upward(project.directory)]
    command = split(project.command)
    if command and not any(shutil.which(_placed(command[0], place)) for place in places):
        return command[0], f"install it, or mend [redgreen.test_command_for] {name}"
    match name:
        case "pytest" | "unittest":
            return "", ""
        case "vitest" | "jest" if shutil.which("node") and not any(
            (p / "node_modules" / name).exists() for p in places
        ):
            return f"node_modules/{name}", "install what package.json asks for"
        case "vitest" | "jest" | "node":
            return ("", "") if shutil.which("node") else ("node", "install Node 20 or newer")
        case "cargo" | "go":
            return ("", "") if shutil.which(name) else (name, f"install {name}")


def _placed(program: str, place: Path) -> str:
    return str(place / program) if "/" in program else program


def bears_strict(
    top: Path, policy: RedGreenPolicy, tests: Mapping[str, Project], collect_s: float = COLLECT_S_MAX
) -> Finding:
    """Whether a test can be collected here, which strict mode needs."""
    built = [path for path, project in tests.items() if project.runner not in PYTHON]
    if built:
        what = f"{counted(len(built), 'test file')}, which the gate collects when it starts"
        return Finding(level="ok", what=f"red-green: strict can be borne: {what}")
    files = _likely(top, list(tests))
    if not files:
        return _cannot(policy, "there is no test file")
    project = tests[files[0]]
    files = [path for path in files if tests[path] == project]
    found = asyncio.run(_collected(top, project, files, collect_s))
    if found is None:
        return _uncollected(top, files, collect_s)
    if found.tests:
        what = f"{counted(len(found.tests), 'test')} collected in {counted(len(files), 'file')} of {len(tests)}"
        return Finding(level="ok", what=f"red-green: strict can be borne: {what}")
    if found.note:
        name = project.runner
        fix = f"install {name} where the tests run, or say how they run: [redgreen.test_command_for] {name}"
        return _cannot(policy, f"{project.words}: {found.note.rpartition('; ')[2]}", fix)
    return _cannot(policy, next(iter(found.broken.values()), "no test in any test file"))


def _uncollected(top: Path, files: Sequence[str], collect_s: float) -> Finding:
    """By what stands in the files, where looking closer takes too long."""
    seen = sum(len(TEST.findall(_source(top / path))) for path in files)
    told = f"{counted(seen, 'test function')} in {counted(len(files), 'file')}, not collected within {collect_s} s"
    if seen:
        return Finding(level="ok", what=f"red-green: strict can be borne, it seems: {told}")
    fix = "penstock gate start takes the time to tell"
    return Finding(level="warn", what=f"red-green: whether strict can be borne is not known: {told}", fix=fix)


def _cannot(policy: RedGreenPolicy, why: str, fix: str = CHARACTERISE) -> Finding:
    level: Level = "bad" if policy.mode == "strict" else "warn"
    what = f"red-green: strict cannot be borne, no test can be collected: {' '.join(why.split())[:300]}"
    return Finding(level=level, what=what, fix=fix)


def _likely(top: Path, paths: Sequence[str]) -> list[str]:
    """Those whose name says that they hold tests, before their helpers; some, the small ones first."""

    def rank(path: str) -> tuple[bool, int]:
        stem = Path(path).stem
        is_named = stem.startswith("test_") or stem.endswith("_test") or stem == "tests"
        return not is_named, (top / path).stat().st_size

    return sorted((path for path in paths if (top / path).is_file()), key=rank)[:COLLECTED_FILES_MAX]


async def _collected(top: Path, project: Project, files: Sequence[str], collect_s: float) -> Collection | None:
    """What was found; None: not in time, and nothing of it is left running."""
    with tempfile.TemporaryDirectory(prefix="penstock-doctor-") as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        checkout = Checkout(path=str(top), at=str(top), commit="", tree="")
        launcher = Launcher(
            processes=LocalProcesses(),
            sandbox=NoSandbox(),
            confinement=Confinement(checkout=checkout, home=str(home)),
            scratch=Path(scratch) / "jobs",
        )
        runner = make_runner(project, launcher, warm=False)
        try:
            return await asyncio.wait_for(runner.collect(files), collect_s)
        except TimeoutError:
            return None


def names_given_twice(top: Path, tests: Mapping[str, Project]) -> Iterator[Finding]:
    """Annotations `test-id: slug` that name nothing, or two tests."""
    named = {path: annotations_in(project.runner, _source(top / path), path) for path, project in tests.items()}
    problems = [*(problem for each in named.values() for problem in each.problems), *duplicates(named)]
    for problem in problems:
        yield Finding(level="bad", what=problem, fix="give each test a name of its own, or take the comment out")


def _source(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SOURCE_BYTES_MAX)
    except OSError:
        return b""


# --- the gate, and who goes round it --------------------------------------------------------------------------------


def plan_without_files(place: GatePlace) -> Iterator[Finding]:
    """Steps of the plan in force whose test file is not there."""
    try:
        _, lines = plan_here(place.top)
    except Corrupt as wrong:
        yield Finding(level="bad", what=f"the gate's ledger is damaged: {wrong}", fix="keep it aside: mv it away")
        return
    for line in lines:
        if line.test_file_path and not (place.top / line.test_file_path).is_file():
            what = f"plan, step {line.number}: its test file {line.test_file_path} does not exist"
            yield Finding(level="warn", what=what, fix="write it, or hand in another plan: penstock plan set FILE")


def foreign_writers(top: Path) -> Iterator[Finding]:
    """MCP servers that write past the gate."""
    found = foreign_servers(top)
    if found:
        named = ", ".join(f"{server.name} ({server.file})" for server in found)
        fix = "let agents write with the tools of `penstock mcp`, and take out what they do not need"
        yield Finding(level="warn", what=f"writes by other MCP servers are judged after the fact: {named}", fix=fix)


def hooks_tried(directory: Path) -> Iterator[Finding]:
    """Each installed hook, fired at a gate that refuses."""
    try:
        for seen in seen_hooks(directory):
            yield hook_in_words(seen)
    except BadInput as wrong:
        yield from map(bad, wrong.problems)


def hook_in_words(seen: Seen) -> Finding:
    """What came of trying it."""
    name = f"hooks of {seen.agent} ({seen.scope})"
    if not seen.problems:
        return Finding(level="ok", what=f"{name}: seen to refuse what the gate refuses")
    user = " --user" if seen.scope == "user" else ""
    fix = f"put them in anew: penstock hook install {seen.agent}{user}"
    return Finding(level="bad", what=f"{name}: {'; '.join(seen.problems)}", fix=fix)


def gate_running(directory: Path, policy: RedGreenPolicy) -> Iterator[Finding]:
    """The gate round this tree, where one is there."""
    try:
        said = asyncio.run(asyncio.wait_for(_status(directory), ANSWER_S_MAX))
    except ConnectionRefusedError:
        return
    except (TimeoutError, ConnectionError):
        what = f"the gate of this tree gives no answer within {ANSWER_S_MAX:.0f} s"
        yield Finding(level="warn", what=what, fix="it may be running tests: try again")
        return
    what = f"a gate guards this tree: mode {said['mode']}, session {said['session']}"
    if said["mode"] == policy.mode:
        yield Finding(level="ok", what=what)
    else:
        fix = "start it anew: penstock gate stop; penstock gate start"
        yield Finding(level="warn", what=f"{what}; the settings say {policy.mode}", fix=fix)


async def _status(directory: Path) -> dict[str, object]:
    client = await connect(directory, starts=False)
    try:
        return await client.ask({"op": "status"})
    finally:
        await client.close()
