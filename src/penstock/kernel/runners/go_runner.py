"""Runs Go tests with `go test`, each top-level test or sub-test asked for in a process of its own.

The harness prints its verdicts among the lines that tests print, so a line alone proves nothing. A test is green when
its process ended with 0, the harness came to its own end (it then writes a profile to a place that only it was told
of), and said of this test that it passed and never that it failed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from penstock.core.redgreen.source_text import functions
from penstock.core.redgreen.test_id import BadTestId, RunnerName, TestId, canonical_path
from penstock.kernel.launching import Launcher
from penstock.kernel.runner import Collection, FoundTest, RunOrder, RunReport, TestOutcome
from penstock.kernel.runners.each_process import (
    EachProcess,
    EachRun,
    Reading,
    Told,
    fate,
    order_for,
    outcome_of,
    relative_to,
    shown_output,
    worst,
)
from penstock.kernel.runners.go_errors import BrokenPackage, Code, Complaint, complaints_in

COLLECT_WALL_MS = 300_000
SOURCE_BYTES_MAX = 1_000_000

SAID = re.compile(r"--- (PASS|FAIL|SKIP): (\S+) \(\d")
LOGGED = re.compile(r"^\s+(?P<file>[\w.-]+\.go):(?P<line>\d+): (?P<text>.*(?:\n {8}.*)*)", re.M)
PANIC = re.compile(r"^panic: (?P<text>.*?)(?: \[recovered\])?$", re.M)
FRAME = re.compile(r"^\t(?P<path>/\S.*\.go):(?P<line>\d+)", re.M)


class GoModule(msgspec.Struct, frozen=True, rename="pascal"):
    """Of `go list`"""

    path: str = ""


class GoPackage(msgspec.Struct, frozen=True, rename="pascal"):
    """Of `go list`"""

    dir: str = ""
    import_path: str = ""
    module: GoModule = GoModule()
    go_files: tuple[str, ...] = ()
    cgo_files: tuple[str, ...] = ()
    test_go_files: tuple[str, ...] = ()
    x_test_go_files: tuple[str, ...] = msgspec.field(name="XTestGoFiles", default=())
    ignored_go_files: tuple[str, ...] = ()
    invalid_go_files: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()
    test_imports: tuple[str, ...] = ()
    x_test_imports: tuple[str, ...] = msgspec.field(name="XTestImports", default=())


@dataclass(frozen=True)
class Project:
    """The module's packages in a working tree. `root`: of the tree, as seen inside; `top`: the same on the host."""

    packages: Mapping[str, GoPackage]
    root: str
    top: Path

    def directory(self, package: GoPackage) -> str:
        """Of the package, from the root."""
        return relative_to(package.dir, self.root) or ""

    def paths(self, package: GoPackage, names: Iterable[str]) -> tuple[str, ...]:
        """Files of a package from the root."""
        directory = self.directory(package)
        return tuple(f"{directory}/{name}".lstrip("/") for name in names)

    def production(self, package: GoPackage) -> tuple[str, ...]:
        """Its files that are no tests."""
        return self.paths(package, (*package.go_files, *package.cgo_files))

    def tests(self, package: GoPackage) -> tuple[str, ...]:
        """Its files with tests, also those that cannot be read."""
        invalid = (name for name in package.invalid_go_files if name.endswith("_test.go"))
        return self.paths(package, dict.fromkeys((*package.test_go_files, *package.x_test_go_files, *invalid)))

    def package_of(self, path: str) -> GoPackage | None:
        """The package in whose directory `path` lies."""
        directory = path.rpartition("/")[0]
        return next((each for each in self.packages.values() if self.directory(each) == directory), None)

    def imported(self, path: str) -> tuple[str, ...]:
        """Files of ours that a test file needs: of its package, and of all that the package's tests import."""
        package = self.package_of(path)
        if package is None:
            return ()
        first = (package.import_path, *package.deps, *package.test_imports, *package.x_test_imports)
        needed = [self.packages[name] for name in dict.fromkeys(first) if name in self.packages]
        deeper = (self.packages[name] for each in needed for name in each.deps if name in self.packages)
        found = dict.fromkeys(file for each in (*needed, *deeper) for file in self.production(each))
        beside = (file for file in self.tests(package) if file != path)
        return (*found, *beside)

    def read(self, path: str) -> str:
        """A source of the tree; empty where it cannot be read."""
        file = self.top / path
        try:
            if not file.is_symlink() and file.stat().st_size <= SOURCE_BYTES_MAX:
                return file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            pass
        return ""

    def code(self, package: GoPackage) -> Code:
        """The package as production sees it."""
        sources = {path: self.read(path) for path in self.production(package)}
        return Code(package.import_path, self.directory(package), sources)

    def line_of(self, path: str, name: str) -> int:
        """Where a test function is defined; 0: not in this file."""
        return next((span.first for span in functions(self.read(path), "go") if span.chain == (name,)), 0)

    def id_of(self, package: GoPackage, name: str) -> TestId | None:
        """The id of the test that the harness calls `name`."""
        chain = tuple(name.split("/"))
        path = next((path for path in self.tests(package) if self.line_of(path, chain[0])), None)
        try:
            return TestId(runner="go", path=canonical_path(path), chain=chain) if path else None
        except BadTestId:
            return None


@dataclass
class _Session:
    project: Project
    run: EachRun
    complaints: tuple[Complaint, ...] = ()
    _ids: dict[tuple[str, str], TestId | None] = field(default_factory=dict)

    def id_of(self, told: Told, name: str) -> TestId | None:
        """The id of a test that was told of."""
        key = (told.place, name)
        if key not in self._ids:
            package = next((each for each in self.project.packages.values() if each.dir == told.place), None)
            self._ids[key] = self.project.id_of(package, name) if package else None
        return self._ids[key]


class GoRunner:
    """`directory`: where `go.mod` lies, from the root. `warm`: keeps builds that outlive us.

    `options`: of `go test`.
    """

    name: RunnerName = "go"
    coverage: Literal["lines", "imports"] = "imports"

    def __init__(
        self, launcher: Launcher, directory: str = "", warm: Path | None = None, options: Sequence[str] = ()
    ) -> None:
        self._launcher, self._options = launcher, tuple(options)
        self._directory = directory
        self._each = EachProcess(launcher, warm)

    async def collect(self, files: Sequence[str] = ()) -> Collection:
        """Builds the packages that hold the files, and asks each binary; sub-tests show only when they run."""
        deadline = time.monotonic() + COLLECT_WALL_MS / 1_000
        project = await self._list(deadline)
        if isinstance(project, Reading):
            return Collection(note=project.message or "go cannot be run")
        session = await self._perform(project, files, None, deadline, list_only=True)
        wanted = set(files)
        found = [test for test in _found(session) if not wanted or test.path in wanted]
        return Collection(
            tests=tuple(FoundTest(test=test, line=project.line_of(test.path, test.chain[0])) for test in found),
            broken={each.path: each.text for each in reversed(session.complaints)},
            note=session.run.ran.end.message,
        )

    async def run(self, order: RunOrder) -> RunReport:
        """Builds the packages that the tests are in, and runs each test in a process of its own."""
        begun = time.monotonic()
        deadline = begun + order.wall_ms / 1_000
        project = await self._list(deadline)
        if isinstance(project, Reading):
            outcomes = tuple(outcome_of(test, project) for test in order.tests)
            return RunReport(outcomes=outcomes, note=project.message, duration_ms=_ms_since(begun))
        files = tuple(dict.fromkeys(test.path for test in order.tests)) or order.files
        session = await self._perform(project, files, order.tests or None, deadline)
        wanted = order.tests or _wanted(session, order.files)
        return RunReport(
            outcomes=tuple(_outcome(session, test) for test in wanted),
            note=session.run.ran.end.message,
            duration_ms=_ms_since(begun),
            output=shown_output(session.run),
        )

    async def close(self) -> None:
        """Discard the builds, unless they were lent to us."""
        self._each.close()

    @property
    def _env(self) -> dict[str, str]:
        defaults = {"GOCACHE": self._each.warm_inside, "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOTELEMETRY": "off"}
        return {name: value for name, value in defaults.items() if name not in self._launcher.env}

    @property
    def _cwd(self) -> str:
        return self._launcher.inside(self._directory)

    async def _list(self, deadline: float) -> Project | Reading:
        argv = ["go", "list", "-e", "-json", *_tags(self._options), "./..."]
        ran = await self._each.run(argv, env=self._env, cwd=self._cwd, wall_ms=_ms_until(deadline))
        if ran.end.outcome != "exited" or ran.end.exit_status != 0:
            said = ran.stderr.decode("utf-8", "replace") or ran.end.message
            return Reading("timeout" if ran.end.outcome == "timeout" else "runner_error", message=said)
        try:
            texts = re.split(rb"(?<=^\})\n(?=\{)", ran.stdout, flags=re.M)
            found = [msgspec.json.decode(text, type=GoPackage) for text in texts if text.strip()]
        except msgspec.DecodeError as error:
            return Reading("runner_error", message=f"go list cannot be read: {error}")
        return Project({each.import_path: each for each in found}, self._launcher.root, self._launcher.top)

    async def _perform(
        self,
        project: Project,
        files: Sequence[str],
        tests: Sequence[TestId] | None,
        deadline: float,
        *,
        list_only: bool = False,
    ) -> _Session:
        packages = [each for path in files if (each := project.package_of(path))] if files else []
        names = list(dict.fromkeys(each.import_path for each in packages)) or ([] if files else ["./..."])
        order = order_for("go", _asked(project, tests), list_only=list_only)
        flags = ["-count=1", "-vet=off", "-timeout=0", "-gcflags=-e", "-run=.", "-exec=EACH"]
        run = await self._each.run_each(
            ["go", "test", *self._options, *flags, *names] if names else ["go", "version"],
            order,
            env=self._env,
            cwd=self._cwd,
            wall_ms=_ms_until(deadline),
        )
        text = (run.ran.stderr + b"\n" + run.ran.stdout).decode("utf-8", "replace")
        placed = (
            (relative_to(f"{self._cwd}/{p}" if p[0] != "/" else p, self._launcher.root), n, t)
            for p, n, t in complaints_in(text)
        )
        return _Session(project, run, tuple(dict.fromkeys(Complaint(p or "", n, t) for p, n, t in placed if p)))


def _tags(options: Sequence[str]) -> list[str]:
    """Those options that say which files there are."""
    both = " ".join(options).replace("-tags ", "-tags=").split()
    return [option for option in both if option.lstrip("-").startswith("tags=")]


def _asked(project: Project, tests: Sequence[TestId] | None) -> dict[str, list[str]] | None:
    if tests is None:
        return None
    asked: dict[str, list[str]] = {}
    for test in tests:
        if package := project.package_of(test.path):
            asked.setdefault(package.dir, []).append("/".join(test.chain))
    return asked


def _found(session: _Session) -> list[TestId]:
    found = (session.id_of(each, name) for each in session.run.found for name in each.tests)
    return list(dict.fromkeys(test for test in found if test))


def _wanted(session: _Session, files: Sequence[str]) -> tuple[TestId, ...]:
    """Every test there is, sub-tests too; and those of packages that do not build, as far as their text shows."""
    found = dict.fromkeys(_found(session))
    for told in session.run.ended:
        ids = (session.id_of(told, name) for _, name in SAID.findall(told.stdout) if name.startswith(f"{told.test}/"))
        found |= dict.fromkeys(test for test in ids if test)
    lost = {each.path.rpartition("/")[0] for each in session.complaints}
    for package in session.project.packages.values():
        if session.project.directory(package) in lost:
            found |= dict.fromkeys(_written(session.project, package))
    return tuple(test for test in found if not files or test.path in files)


def _written(project: Project, package: GoPackage) -> Iterable[TestId]:
    for path in project.tests(package):
        for span in functions(project.read(path), "go"):
            if re.fullmatch(r"Test(?:[^a-z].*)?", span.chain[-1]):
                yield TestId(runner="go", path=path, chain=span.chain)


def _outcome(session: _Session, test: TestId) -> TestOutcome:
    name = "/".join(test.chain)
    told = [each for each in session.run.told if each.test and session.id_of(each, each.test) == test]
    ended = [each for each in told if each.kind == "ended"]
    readings = [_read(session.project, each, name) for each in ended]
    if not ended:
        readings = [_read(session.project, each, name) for each in _parents(session, test)] if not told else []
    if not readings or len(told) > 2 * len(ended) > 0:
        readings.append(_unread(session, test))
    imported = session.project.imported(test.path) if ended or readings[0].verdict == "green" else ()
    return outcome_of(test, worst(readings), duration_ms=sum(each.duration_ms for each in ended), imported=imported)


def _parents(session: _Session, test: TestId) -> list[Told]:
    """Runs of the whole top-level test, where its sub-tests were not asked for by name."""
    top = TestId(runner="go", path=test.path, chain=test.chain[:1])
    ended = [each for each in session.run.ended if session.id_of(each, each.test) == top]
    name = "/".join(test.chain)
    return [each for each in ended if name in {said for _, said in SAID.findall(each.stdout)}]


def _unread(session: _Session, test: TestId) -> Reading:
    """Of a test that did not end, or never began."""
    project, package = session.project, session.project.package_of(test.path)
    lost = fate(session.run.ran.end)
    if package is None or lost.verdict != "not_run":
        return lost
    if any(each.place == package.dir for each in session.run.found):
        return lost
    own = [c for c in session.complaints if c.path in project.tests(package)]
    stray = [c for c in session.complaints if not c.path.endswith("_test.go")]
    if not own and not stray:
        said = (session.run.ran.stderr + session.run.ran.stdout).decode("utf-8", "replace")
        return Reading("collect_error", message=said) if "failed]" in said else lost
    codes = {each.import_path: project.code(each) for each in project.packages.values()}
    source = project.read(test.path)
    package_broken = BrokenPackage(test.path, source, codes[package.import_path], package.module.path, codes)
    return package_broken.reading(test.chain[0], own or stray)


def _read(project: Project, told: Told, name: str) -> Reading:
    """What the end of one test's process says of the test `name`."""
    said = {verdict for verdict, of in SAID.findall(told.stdout) if of == name}
    if told.proof is None:
        return _read_death(project, told)
    if told.status == 0 and "FAIL" in said:
        return Reading("runner_error", message="its output says that it failed, and the harness that all is well")
    if "FAIL" in said:
        return _read_failure(project, told)
    if told.status not in (0, 1):
        return Reading("crash", message=f"its process ended with {told.status}")
    if told.status == 1 and told.test == name:
        return Reading("setup_error", message="something round it failed, and not the test itself")
    if "SKIP" in said:
        return Reading("skipped")
    return Reading("green") if "PASS" in said else Reading("not_run", message="no test of that name was run")


def _read_failure(project: Project, told: Told) -> Reading:
    logged = LOGGED.search(told.stdout)
    directory = relative_to(told.place, project.root) or ""
    where = f"{directory}/{logged['file']}:{logged['line']}".lstrip("/") if logged else ""
    return Reading("red_assert", "", where, logged["text"] if logged else "it failed, and did not say why")


def _read_death(project: Project, told: Told) -> Reading:
    """The harness did not come to its end: a panic, or somebody left."""
    panic = PANIC.search(told.stderr)
    if panic is None or told.status != 2 or "unexpected call to os.Exit" in panic["text"]:
        said = panic["text"] if panic else f"its process ended with {told.status} before the test was done"
        return Reading("crash", message=said)
    frames = ((relative_to(f["path"], project.root), f["line"]) for f in FRAME.finditer(told.stderr[panic.end() :]))
    where = next((f"{path}:{line}" for path, line in frames if path), "")
    return Reading("red_exception", "panic", where, panic["text"])


def _ms_since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1_000)


def _ms_until(deadline: float) -> int:
    return round((deadline - time.monotonic()) * 1_000)
