"""Runs Rust tests with `cargo test`: text is all that its stable harness says, so each test has a process of its own.

A test is green when its process ended with 0 and the harness itself wrote, into a file that only it was told of, that
this test is ok. What a test prints is never read for a verdict, only for the words beside it. A target that does not
compile is read by `rust_errors.py`; targets beside it are built without it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from penstock.core.redgreen.source_text import functions
from penstock.core.redgreen.test_id import RunnerName, TestId
from penstock.kernel.launching import Launcher
from penstock.kernel.runner import Collection, FoundTest, RunOrder, RunReport, TestOutcome
from penstock.kernel.runners.cargo_project import (
    Builds,
    Built,
    Metadata,
    Package,
    Project,
    Target,
    imported_by,
    messages_in,
    modules_of,
)
from penstock.kernel.runners.each_process import (
    EachProcess,
    EachRun,
    Reading,
    Told,
    fate,
    order_for,
    outcome_of,
    shown_output,
    worst,
)
from penstock.kernel.runners.rust_errors import BrokenFile, Complaint, Crate, SourceSpan, broken, tests_of

COLLECT_WALL_MS = 300_000
FLAGS = ("--no-fail-fast", "--message-format=json")
BUILDS_MAX = 20
"""So many times the targets that do not compile are left out and the others are built again."""

PANIC = re.compile(
    r"^thread '(?P<thread>[^\n]*?)' (?:\(\d+\) )?panicked at (?P<place>[^\n]+?):(?P<line>\d+):(?P<column>\d+):\n"
    r"(?P<text>.*?)"
    r"(?=^note: |^stack backtrace:|^thread '|\Z)",
    re.M | re.S,
)
NO_PANIC = re.compile(r"^note: test did not panic as expected(?: at (?P<place>[^\n]+?):(?P<line>\d+):\d+)?", re.M)

Pairs = tuple[tuple[Package, Target], ...]


@dataclass
class _Session:
    """One run in the making."""

    project: Project
    builds: Builds
    built: Built = field(default_factory=Built)
    run: EachRun | None = None
    """The last one; the only one whose binaries were started."""


class CargoRunner:
    """`directory`: where the workspace's `Cargo.toml` lies, from the root. `warm`: keeps builds that outlive us.

    `options`: of `cargo test`.
    """

    name: RunnerName = "cargo"
    coverage: Literal["lines", "imports"] = "imports"

    def __init__(
        self, launcher: Launcher, directory: str = "", warm: Path | None = None, options: Sequence[str] = ()
    ) -> None:
        self._launcher, self._options = launcher, tuple(options)
        self._directory = directory
        self._each = EachProcess(launcher, warm)
        self._host = ""

    async def collect(self, files: Sequence[str] = ()) -> Collection:
        """Builds what holds the files, and asks each binary."""
        deadline = time.monotonic() + COLLECT_WALL_MS / 1_000
        session = await self._open(deadline)
        if isinstance(session, Reading):
            return Collection(note=session.message or "cargo cannot be run")
        await self._perform(session, self._targets(session.project, files), None, deadline, list_only=True)
        found = [FoundTest(test=test, line=_line_of(session.project, test)) for test in self._found(session)]
        wanted = set(files)
        return Collection(
            tests=tuple(each for each in found if not wanted or each.test.path in wanted),
            broken=_broken(session, self._targets(session.project, files)),
            note=session.run.ran.end.message
            if session.run and not session.run.found and not session.built.complaints
            else "",
        )

    async def run(self, order: RunOrder) -> RunReport:
        """Builds the targets that the tests are in, and runs each test in a process of its own."""
        begun = time.monotonic()
        deadline = begun + order.wall_ms / 1_000
        session = await self._open(deadline)
        if isinstance(session, Reading):
            outcomes = tuple(outcome_of(test, session) for test in order.tests)
            return RunReport(outcomes=outcomes, note=session.message, duration_ms=_ms_since(begun))
        files = tuple(dict.fromkeys(test.path for test in order.tests)) or order.files
        targets = self._targets(session.project, files)
        await self._perform(session, targets, order.tests or None, deadline)
        assert session.run is not None
        wanted = order.tests or self._wanted(session, targets, order.files)
        return RunReport(
            outcomes=tuple(self._outcome(session, test) for test in wanted),
            note=session.run.ran.end.message,
            duration_ms=_ms_since(begun),
            output=shown_output(session.run),
        )

    async def close(self) -> None:
        """Discard the builds, unless they were lent to us."""
        self._each.close()

    # --- cargo ----------------------------------------------------------------------------------------------------

    @property
    def _env(self) -> dict[str, str]:
        defaults = {"CARGO_NET_OFFLINE": "true", "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_PROFILE_TEST_DEBUG": "0"}
        ours = {"CARGO_TARGET_DIR": self._each.warm_inside, "CARGO_TERM_COLOR": "never", "RUST_BACKTRACE": "0"}
        return {**{k: v for k, v in defaults.items() if k not in self._launcher.env}, **ours}

    @property
    def _cwd(self) -> str:
        return self._launcher.inside(self._directory)

    async def _cargo(self, *arguments: str, deadline: float) -> bytes | Reading:
        ran = await self._each.run(["cargo", *arguments], env=self._env, cwd=self._cwd, wall_ms=_ms_until(deadline))
        if ran.end.outcome == "exited" and ran.end.exit_status == 0:
            return ran.stdout
        said = ran.stderr.decode("utf-8", "replace") or ran.end.message
        return Reading("timeout" if ran.end.outcome == "timeout" else "runner_error", message=said)

    async def _open(self, deadline: float) -> _Session | Reading:
        """What the project is made of; not possible: the reading of every test."""
        if not self._host:
            said = await self._cargo("-vV", deadline=deadline)
            if isinstance(said, Reading):
                return said
            self._host = "".join(re.findall(r"^host: (\S+)", said.decode("utf-8", "replace"), re.M))
        said = await self._cargo("metadata", "--no-deps", "--format-version=1", deadline=deadline)
        if isinstance(said, Reading):
            return said
        try:
            metadata = msgspec.json.decode(said, type=Metadata)
        except msgspec.DecodeError as error:
            return Reading("runner_error", message=f"cargo metadata cannot be read: {error}")
        project = Project(metadata, self._launcher.root, self._launcher.top)
        return _Session(project, Builds(self._each.warm_directory(), self._each.warm_inside))

    def _targets(self, project: Project, files: Sequence[str]) -> Pairs:
        found = [pair for path in files for pair in project.targets_for(path)] if files else project.targets()
        return tuple(dict.fromkeys(found))

    async def _perform(
        self,
        session: _Session,
        targets: Pairs,
        tests: Sequence[TestId] | None,
        deadline: float,
        *,
        list_only: bool = False,
    ) -> None:
        """Build and run; while some targets do not compile, again without them."""
        lock = self._launcher.top / self._directory / "Cargo.lock"
        had_lock = lock.exists()
        session.builds.forget_changed(session.project)
        order = order_for("cargo", _asked(session.project, targets, tests), list_only=list_only)
        left = targets
        for _ in range(BUILDS_MAX):
            argv = ["cargo", "test", *self._options, *FLAGS, *self._runner(), *_selectors(left)]
            wall_ms = _ms_until(deadline)
            session.run = await self._each.run_each(argv, order, env=self._env, cwd=self._cwd, wall_ms=wall_ms)
            session.built.take(messages_in(session.run.ran.stdout))
            good = tuple(pair for pair in left if pair[1].src_path not in session.built.complaints)
            if session.built.is_done or not good or len(good) == len(left) or _ms_until(deadline) <= 0:
                break
            left = good
        session.builds.remember(session.project, session.built)
        if not had_lock:
            lock.unlink(missing_ok=True)

    def _runner(self) -> tuple[str, ...]:
        return ("--config", f"target.{self._host}.runner=EACH_JSON")

    # --- reading --------------------------------------------------------------------------------------------------

    def _found(self, session: _Session) -> list[TestId]:
        """Every test in every binary that was started."""
        if session.run is None:
            return []
        found = (self._id(session, each, name) for each in session.run.found for name in each.tests)
        return list(dict.fromkeys(test for test in found if test))

    def _id(self, session: _Session, told: Told, name: str) -> TestId | None:
        target = session.built.binaries.get(told.binary)
        if target is None:
            return None
        return session.project.id_of(target, session.builds.sources_of(session.project, told.binary), name)

    def _wanted(self, session: _Session, targets: Pairs, files: Sequence[str]) -> tuple[TestId, ...]:
        """Every test there is, also in files that do not compile."""
        lost = (test for _, target in targets for test in _tests_in_broken(session, target, files))
        found = dict.fromkeys([*self._found(session), *lost])
        return tuple(test for test in found if not files or test.path in files)

    def _outcome(self, session: _Session, test: TestId) -> TestOutcome:
        assert session.run is not None
        ended = [told for told in session.run.ended if self._id(session, told, told.test) == test]
        readings = [_read(session.project, told, test) for told in ended]
        if self._is_cut_off(session, test, len(ended)) or not readings:
            readings.append(self._unread(session, test))
        imported = dict.fromkeys(path for told in ended for path in _imports(session, told, test))
        duration_ms = sum(told.duration_ms for told in ended)
        return outcome_of(test, worst(readings), duration_ms=duration_ms, imported=tuple(imported))

    def _is_cut_off(self, session: _Session, test: TestId, ended: int) -> bool:
        assert session.run is not None
        begun = [
            told for told in session.run.told if told.kind == "begun" and self._id(session, told, told.test) == test
        ]
        return len(begun) > ended

    def _unread(self, session: _Session, test: TestId) -> Reading:
        """Of a test that did not end, or never began."""
        assert session.run is not None
        for _, target in session.project.targets_for(test.path):
            if complaints := session.built.complaints.get(target.src_path):
                return _broken_file(session, test.path, target).reading(test.chain[-1], _placed(session, complaints))
        if session.built.complaints and test not in self._found(session):
            return broken(_placed(session, next(iter(session.built.complaints.values())))[0])
        lost = fate(session.run.ran.end)
        if lost.verdict == "not_run" and not session.built.is_done:
            said = session.run.ran.stderr.decode("utf-8", "replace")
            return Reading("runner_error", message=said or "cargo did not come to its end")
        return lost


def _asked(project: Project, targets: Pairs, tests: Sequence[TestId] | None) -> dict[str, list[str]] | None:
    """Names for each root source, both as rustc spells it and in full."""
    if tests is None:
        return None
    asked: dict[str, list[str]] = {}
    for _, target in targets:
        for test in tests:
            if (test.path, target) in {(test.path, pair[1]) for pair in project.targets_for(test.path)}:
                short = (project.place(target.src_path) or "").removeprefix(project.prefix)
                for spelled in {short, target.src_path}:
                    asked.setdefault(spelled, []).append("::".join(test.chain))
    return asked


def _selectors(targets: Pairs) -> tuple[str, ...]:
    packages = dict.fromkeys(package.name for package, _ in targets)
    chosen = dict.fromkeys(target.selector for _, target in targets)
    return (*(item for name in packages for item in ("-p", name)), *(item for each in chosen for item in each))


def _read(project: Project, told: Told, test: TestId) -> Reading:
    """What the end of one test's process says."""
    proof = (told.proof or "").strip()
    if proof == f"ok {told.test}" and told.status == 0:
        return Reading("green")
    if proof.startswith("ignored") and told.status == 0:
        return Reading("skipped")
    if proof.startswith("failed") and told.status == 101:
        return _read_failure(project, told, test)
    if told.proof is None and "logfile" in told.stderr:
        return Reading("runner_error", message=told.stderr)
    return Reading("crash", message=f"its process ended with {told.status} before the test was done")


def _read_failure(project: Project, told: Told, test: TestId) -> Reading:
    _, _, printed = told.stdout.rpartition(f"---- {told.test} stdout ----\n")
    printed = f"{printed.rpartition(chr(10) + 'failures:' + chr(10))[0]}\n{told.stderr}"
    if missed := NO_PANIC.search(printed):
        place = project.place(missed["place"]) if missed["place"] else None
        return Reading("red_assert", "", f"{place}:{missed['line']}" if place else "", missed[0].removeprefix("note: "))
    panics = list(PANIC.finditer(printed))
    own = [p for p in panics if p["thread"] in (told.test, "main")] or panics
    if not own:
        return Reading("red_exception", "Err", f"{test.path}:{_line_of(project, test)}", printed)
    last = own[-1]
    place = project.place(last["place"])
    where = f"{place}:{last['line']}" if place else ""
    is_assertion = _is_assertion(
        last["text"], project.read(place) if place else "", int(last["line"]), int(last["column"])
    )
    return Reading("red_assert" if is_assertion else "red_exception", "panic", where, last["text"])


def _is_assertion(text: str, source: str, line: int, column: int) -> bool:
    """By its words, or because an assertion stands where it panicked."""
    lines = source.splitlines()
    there = lines[line - 1][column - 1 :] if 0 < line <= len(lines) else ""
    return bool(re.match(r"assertion\b.*\bfailed", text)) or bool(re.match(r"(?:\w+::)*(?:debug_)?assert\w*!", there))


def _imports(session: _Session, told: Told, test: TestId) -> tuple[str, ...]:
    target = session.built.binaries[told.binary]
    project, builds = session.project, session.builds
    own = builds.sources_of(project, told.binary)
    crates = _crates(session)
    found = imported_by(project, own, crates)
    if any("CARGO_BIN_EXE_" in project.read(path) for path in own):
        programs = [builds.sources_of(project, file) for made, file in session.built.artifacts if made.kind == ("bin",)]
        found = (*found, *(path for sources in programs for path in imported_by(project, sources, crates)))
    return tuple(path for path in dict.fromkeys(found) if path != test.path or project.is_library(target))


def _crates(session: _Session) -> dict[str, tuple[str, ...]]:
    """Sources of each of our libraries, by the name it is spoken of."""
    made = [
        (t, f) for t, f in session.built.artifacts if t.selector == ("--lib",) and session.project.place(t.src_path)
    ]
    return {t.name.replace("-", "_"): session.builds.sources_of(session.project, file) for t, file in made}


# --- targets that do not compile ------------------------------------------------------------------------------------


def _placed(session: _Session, complaints: Iterable[Complaint]) -> tuple[Complaint, ...]:
    """The same, with every path from the root of the tree."""
    project = session.project

    def moved(spans: Sequence[SourceSpan]) -> tuple[SourceSpan, ...]:
        return tuple(msgspec.structs.replace(s, file_name=project.place(s.file_name) or s.file_name) for s in spans)

    return tuple(
        msgspec.structs.replace(
            complaint,
            spans=moved(complaint.spans),
            children=tuple(msgspec.structs.replace(note, spans=moved(note.spans)) for note in complaint.children),
        )
        for complaint in complaints
    )


def _broken_file(session: _Session, path: str, target: Target) -> BrokenFile:
    project = session.project
    is_inside = project.is_library(target)
    root = project.place(target.src_path) or ""
    if not is_inside:
        libraries = [t for p in project.metadata.packages if target in p.targets for t in p.targets]
        root = next((project.place(t.src_path) or "" for t in libraries if t.selector == ("--lib",)), root)
    directory = project.top / root.rpartition("/")[0]
    paths = [str(file.relative_to(project.top)) for file in sorted(directory.rglob("*.rs"))]
    crate = Crate(project.crate_names(), root, {name: project.read(name) for name in paths})
    return BrokenFile(path, project.read(path), is_inside, crate)


def _tests_in_broken(session: _Session, target: Target, files: Sequence[str]) -> Iterable[TestId]:
    if target.src_path not in session.built.complaints:
        return
    root = session.project.place(target.src_path) or ""
    for path in files or (root,):
        for span in tests_of(session.project.read(path)):
            yield TestId(runner="cargo", path=path, chain=(*modules_of(path, root), *span.chain))


def _broken(session: _Session, targets: Pairs) -> dict[str, str]:
    places = {target.src_path: session.project.place(target.src_path) or target.src_path for _, target in targets}
    stopped = session.built.complaints
    found = {place: stopped[path][0].message for path, place in places.items() if path in stopped}
    if stopped and not found:
        first = next(iter(stopped.values()))[0]
        return {place: f"{_where_of(session, first)}: {first.message}" for place in places.values()}
    return found


def _where_of(session: _Session, complaint: Complaint) -> str:
    span = complaint.primary
    return f"{session.project.place(span.file_name) or span.file_name}:{span.line_start}" if span else ""


def _line_of(project: Project, test: TestId) -> int:
    spans = functions(project.read(test.path), "rust")
    exact = [span for span in spans if test.chain[-len(span.chain) :] == span.chain]
    return max(exact, key=lambda span: len(span.chain)).first if exact else 0


def _ms_since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1_000)


def _ms_until(deadline: float) -> int:
    return round((deadline - time.monotonic()) * 1_000)
