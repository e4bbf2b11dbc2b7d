"""What the programs in `javascript_side` tell of a run, and what verdict it amounts to.

Each line that counts begins with the nonce of the run; all others are somebody else's. A test has the verdict of its
last word; where two tests share a name, the worse of theirs. Who has no word was not run, unless something says why.

Here a red by a missing target is read from the error's text: the module that cannot be found, or the name that is
`undefined` where it is called. It counts only if this tree really lacks it, and, where the whole file could not be
loaded, only for a title that the file has, and a test that can come to speak of what is missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, assert_never
from urllib.parse import unquote

import msgspec

from penstock.core.policy import Frozen
from penstock.core.redgreen.test_id import BadTestId, RunnerName, TestId, canonical_path
from penstock.core.redgreen.verdicts import RunVerdict
from penstock.kernel.runner import MESSAGE_CHARS_MAX, OUTPUT_BYTES_MAX, TestOutcome
from penstock.kernel.runners.javascript_modules import (
    Binding,
    bindings_in,
    lacks,
    place_of,
    read_text,
    resolve,
    specifiers_in,
)
from penstock.kernel.runners.javascript_touch import touches

Phase = Literal["setup", "call", "teardown"]
State = Literal["passed", "failed", "skipped", "cancelled", "flaky", "pending"]

WORST_FIRST: tuple[RunVerdict, ...] = (
    "crash",
    "timeout",
    "red_exception",
    "red_assert",
    "red_missing_target",
    "setup_error",
    "teardown_error",
    "not_run",
    "skipped",
    "xpass",
    "xfail",
    "flaky",
    "green",
)


class Wrong(Frozen):
    """An error, as it was thrown."""

    name: str
    message: str
    stack: str
    assertion: bool
    phase: Phase = "call"


class Hello(Frozen, tag_field="t", tag="hello"):
    """The runner was found and loaded."""

    version: str


class TestTold(Frozen, tag_field="t", tag="test"):
    """How a test ended. `inverted`: it passes by failing. `provisional`: its file may yet say otherwise."""

    __test__ = False
    file: str
    chain: tuple[str, ...]
    state: State
    errors: tuple[Wrong, ...] = ()
    ms: int = 0
    line: int = 0
    inverted: bool = False
    asserts: int = -1
    provisional: bool = False


class SuiteTold(Frozen, tag_field="t", tag="suite"):
    """A hook around all tests below `chain` failed."""

    file: str
    chain: tuple[str, ...]
    errors: tuple[Wrong, ...]


class FileTold(Frozen, tag_field="t", tag="file"):
    """A file could not be loaded, or its process died."""

    file: str
    errors: tuple[Wrong, ...]
    crashed: bool = False


class StrayTold(Frozen, tag_field="t", tag="stray"):
    """An error that no test caught. `chain`: title of the one that was running, if that is known."""

    file: str
    chain: tuple[str, ...]
    errors: tuple[Wrong, ...]
    crashed: bool = False


class OutputTold(Frozen, tag_field="t", tag="output"):
    """What a test printed, where the runner keeps it from the output of its process."""

    text: str


class EndTold(Frozen, tag_field="t", tag="end"):
    """The run is over; `note`: the runner itself failed."""

    note: str = ""


Told = Hello | TestTold | SuiteTold | FileTold | StrayTold | OutputTold | EndTold

_decode = msgspec.json.Decoder(Told).decode


def parse(nonce: str, data: bytes) -> Iterator[Told]:
    """The records of a run among whatever else was written."""
    mark = nonce.encode() + b" "
    for line in data.split(b"\n"):
        if line.startswith(mark):
            try:
                yield _decode(line[len(mark) :])
            except msgspec.DecodeError:
                continue


@dataclass(frozen=True)
class Tree:
    """The tree under test: `root` as those inside see it, `top` on the host. `project`: whence relative paths are."""

    top: Path
    root: str
    project: str = ""

    def relative(self, path: str) -> str:
        """Canonical path in the tree, empty for what lies outside or was installed."""
        plain = unquote(path.removeprefix("file://")) if path.startswith("file://") else path
        for prefix in dict.fromkeys((self.root, str(self.top), os.path.realpath(self.top))):
            if plain.startswith(prefix.rstrip("/") + "/"):
                return _canonical(plain[len(prefix.rstrip("/")) + 1 :])
        return "" if plain.startswith("/") else _canonical(os.path.join(self.project, plain))

    def deepest(self, stack: str) -> tuple[str, int]:
        """Path and line of the deepest frame inside the tree, ("", 0) where none is."""
        places = (match for pattern in (_FRAME, _HEADING) for match in pattern.finditer(stack))
        frames = ((self.relative(match[1]), int(match[2])) for match in places)
        return next((frame for frame in frames if frame[0]), ("", 0))


_FRAME = re.compile(r"^\s*at (?:async )?(?:.*?\()?((?:file://)?/.*?):(\d+):\d+\)?$", re.M)
_HEADING = re.compile(r"^((?:file://)?/\S.*?):(\d+)$", re.M)
"""Node puts the place of an error in the source above it."""


def _canonical(path: str) -> str:
    try:
        return "" if "node_modules" in path.split("/") else canonical_path(os.path.normpath(path))
    except BadTestId:
        return ""


# --- what is missing ------------------------------------------------------------------------------------------------

_NO_MODULE = re.compile(r"Cannot find module '([^']+)'(?: (?:imported )?from '?([^'\n]+?)'?(?:$|\n))?")
_UNRESOLVED = re.compile(r'Failed to resolve import "([^"]+)" from "([^"]+)"')
_REQUIRE_STACK = re.compile(r"^Require stack:\n- (.+)$", re.M)
_NO_EXPORT = re.compile(r"requested module '([^']+)' does not provide an export named '([^']+)'")
_NO_COMMONJS_EXPORT = re.compile(r"Named export '([^']+)' not found\. The requested module '([^']+)'")
_NOT_CALLABLE = re.compile(r"([\w$]+(?:\.[\w$]+)*)\)? is not a (?:function|constructor)")


def missing_targets(tree: Tree, error: Wrong, test_file: str) -> tuple[str, ...]:
    """Files of the tree that are not there, or lack the name that the error asks for."""
    text = f"{error.message}\n{error.stack}"
    found = _missing_module(tree, text, test_file) or _missing_export(tree, text, test_file)
    if not found and error.name == "TypeError":
        found = _missing_callable(tree, error, test_file)
    return (found,) if found else ()


def _missing_module(tree: Tree, text: str, test_file: str) -> str:
    match = _NO_MODULE.search(text) or _UNRESOLVED.search(text)
    if match is None:
        return ""
    stack = _REQUIRE_STACK.search(text)
    importer = tree.relative(match[2] or (stack[1] if stack else "")) or test_file
    specifier = match[1]
    if specifier.startswith("/"):
        place = tree.relative(specifier)
    else:
        place = place_of(importer, specifier) if specifier.startswith(".") else ""
    if not place or resolve(tree.top, importer, "./" + os.path.relpath(place, os.path.dirname(importer) or ".")):
        return ""
    return place if os.path.splitext(place)[1] else place + os.path.splitext(importer)[1]


def _missing_export(tree: Tree, text: str, test_file: str) -> str:
    if match := _NO_EXPORT.search(text):
        specifier, name = match[1], match[2]
    elif match := _NO_COMMONJS_EXPORT.search(text):
        specifier, name = match[2], match[1]
    else:
        return ""
    seen = _HEADING.search(text)
    importer = (tree.relative(seen[1]) if seen else "") or test_file
    target = resolve(tree.top, importer, specifier) if specifier.startswith(".") else tree.relative(specifier)
    return target if target and lacks(tree.top, target, name) else ""


def _missing_callable(tree: Tree, error: Wrong, test_file: str) -> str:
    match = _NOT_CALLABLE.search(error.message)
    importer = tree.deepest(error.stack)[0] or test_file
    if match is None or not importer:
        return ""
    for binding in _meant(bindings_in(read_text(tree.top / importer)), match[1].split(".")):
        target = resolve(tree.top, importer, binding.specifier)
        if target and lacks(tree.top, target, binding.imported):
            return target
    return ""


def _meant(bindings: Iterable[Binding], words: list[str]) -> Iterator[Binding]:
    """The imports that `name` or `module.name` can stand for; compilers rename the module."""
    name, module = words[-1], words[-2] if len(words) > 1 else ""
    for each in bindings:
        if each.imported == "*" and each.local == module:
            yield Binding(name, name, each.specifier)
        elif each.imported != "*" and name in (each.local, each.imported) and (not module or module.startswith("_")):
            yield each


# --- verdicts -------------------------------------------------------------------------------------------------------

_TIMED_OUT = re.compile(r"^(?:(?:Test|Hook) timed out in \d+|Exceeded timeout of \d+|test timed out after \d+) ?ms")
_EXITED = re.compile(r"^process\.exit unexpectedly called")
_SYNTAX = re.compile(r"^SyntaxError\b|Parse failure:|Parse failed|PARSE_ERROR|Transform failed|\nSyntaxError: ")


@dataclass
class Reading:
    """What one run told, by file and chain."""

    runner: RunnerName
    tree: Tree
    tests: dict[tuple[str, tuple[str, ...]], list[TestTold]] = field(default_factory=dict)
    suites: dict[str, list[SuiteTold]] = field(default_factory=dict)
    files: dict[str, FileTold] = field(default_factory=dict)
    strays: list[StrayTold] = field(default_factory=list)
    output: bytearray = field(default_factory=bytearray)
    has_begun: bool = False
    end: EndTold | None = None

    def take(self, told: Told) -> None:
        """Note one record."""
        match told:
            case Hello():
                self.has_begun = True
            case TestTold():
                self._take_test(told)
            case SuiteTold():
                self.suites.setdefault(self.tree.relative(told.file), []).append(told)
            case FileTold():
                self.files.setdefault(self.tree.relative(told.file), told)
            case StrayTold():
                self.strays.append(told)
            case OutputTold():
                self.output += told.text.encode("utf-8", "replace")
                del self.output[:-OUTPUT_BYTES_MAX]
            case EndTold():
                self.end = told
            case _:
                assert_never(told)

    def _take_test(self, told: TestTold) -> None:
        path = self.tree.relative(told.file)
        if not path or not told.chain:
            return
        known = self.tests.setdefault((path, told.chain), [])
        if not told.provisional:
            known[:] = [each for each in known if not each.provisional]
        known.append(told)

    def ids(self) -> list[TestId]:
        """Each test that was found, in order."""
        return [TestId(runner=self.runner, path=path, chain=chain) for path, chain in self.tests]

    def outcome(self, test: TestId, otherwise: RunVerdict) -> TestOutcome:
        """What became of one test; `otherwise`: the verdict where nothing at all was told."""
        if test.param is not None:
            return TestOutcome(test=test, verdict="not_run", message="rows are told apart by their titles")
        words = [self._judge(test, told) for told in self.tests.get((test.path, test.chain), ())]
        if not words or all(word.verdict == "not_run" for word in words):
            if otherwise == "timeout":  # what the end of its process made others say of it
                return TestOutcome(test=test, verdict="timeout")
            return self._unheard(test, words[0] if words else TestOutcome(test=test, verdict=otherwise))
        return min(words, key=lambda word: WORST_FIRST.index(word.verdict))

    def _judge(self, test: TestId, told: TestTold) -> TestOutcome:
        match told.state:
            case "skipped" | "pending":
                verdict: RunVerdict = "skipped" if told.state == "skipped" else "not_run"
                return self._after_hooks(test, TestOutcome(test=test, verdict=verdict))
            case "cancelled":
                return self._after_hooks(test, self._named(test, "not_run", told.errors))
            case "flaky":
                return self._named(test, "flaky", told.errors)
            case "passed":
                return self._passed(test, told)
            case "failed":
                verdict = "xpass" if told.inverted else "red_exception"
                return self._named(test, verdict, told.errors, told.ms) if told.inverted else self._failed(test, told)
            case _:
                assert_never(told.state)

    def _passed(self, test: TestId, told: TestTold) -> TestOutcome:
        teardown = [error for error in told.errors if error.phase == "teardown"]
        if teardown:
            return self._named(test, "teardown_error", teardown, told.ms)
        message = "no assertion was made" if told.asserts == 0 else ""
        verdict: RunVerdict = "xfail" if told.inverted else "green"
        return self._after_hooks(test, TestOutcome(test=test, verdict=verdict, message=message, duration_ms=told.ms))

    def _failed(self, test: TestId, told: TestTold) -> TestOutcome:
        errors = told.errors or (Wrong(name="Error", message="", stack="", assertion=False),)
        early = next((error for error in errors if error.phase == "setup"), None)
        decisive = early or next((error for error in errors if error.phase == "call"), errors[0])
        verdict, phantoms = self._of_error(decisive, test.path)
        return self._named(test, verdict, [decisive], told.ms, phantoms)

    def _of_error(self, error: Wrong, test_file: str) -> tuple[RunVerdict, tuple[str, ...]]:
        if _TIMED_OUT.match(error.message):
            return "timeout", ()
        if _EXITED.match(error.message):
            return "crash", ()
        if error.phase != "call":
            return ("setup_error" if error.phase == "setup" else "teardown_error"), ()
        if error.assertion:
            return "red_assert", ()
        if phantoms := missing_targets(self.tree, error, test_file):
            return "red_missing_target", phantoms
        return "red_exception", ()

    def _after_hooks(self, test: TestId, outcome: TestOutcome) -> TestOutcome:
        """What hooks around the test, and errors that nobody caught, make of a verdict that is no red."""
        for suite in self.suites.get(test.path, ()):
            phase = suite.errors[0].phase if suite.errors else "call"
            if test.chain[: len(suite.chain)] == suite.chain:
                is_early = phase == "setup"
                if is_early == (outcome.verdict in ("skipped", "not_run")):
                    return self._named(test, "setup_error" if is_early else "teardown_error", suite.errors)
        for stray in self.strays:
            is_here = self.tree.relative(stray.file) == test.path and not stray.crashed
            if outcome.verdict == "green" and is_here and stray.chain in ((), test.chain[-1:]):
                return self._named(test, "red_exception" if stray.chain else "teardown_error", stray.errors)
        return outcome

    def _unheard(self, test: TestId, known: TestOutcome) -> TestOutcome:
        told = self.files.get(test.path)
        if told is None:
            return known
        if told.crashed:
            return self._named(test, "crash", told.errors)
        error = told.errors[0] if told.errors else Wrong(name="Error", message="", stack="", assertion=False)
        if phantoms := missing_targets(self.tree, error, test.path):
            verdict = self._without_target(test, error, phantoms)
            return self._named(test, verdict, told.errors, 0, phantoms if verdict == "red_missing_target" else ())
        return self._named(test, "syntax_error" if is_syntax(error) else "collect_error", told.errors)

    def _without_target(self, test: TestId, error: Wrong, phantoms: tuple[str, ...]) -> RunVerdict:
        """What a test is whose file cannot be loaded for want of a target: red if it asks for that."""
        source = read_text(self.tree.top / test.path)
        if not _has_titles(source, test.chain):
            return "not_run"
        names = self._names_of(test.path, source, error, phantoms)
        return "red_missing_target" if names is None or touches(source, test.chain, names) else "vacuous"

    def _names_of(self, path: str, source: str, error: Wrong, phantoms: tuple[str, ...]) -> set[str] | None:
        """The names under which the test's file would have had what is missing; None: it is another that lacks it."""
        stems = {os.path.splitext(phantom)[0] for phantom in phantoms}
        here = [each for each in specifiers_in(source) if os.path.splitext(place_of(path, each))[0] in stems]
        if not here:
            return None
        export = _NO_EXPORT.search(error.message)
        bound = [each for each in bindings_in(source) if each.specifier in here]
        return {each.local for each in bound if export is None or each.imported == export[2]}

    def _named(
        self,
        test: TestId,
        verdict: RunVerdict,
        errors: Iterable[Wrong],
        ms: int = 0,
        phantoms: tuple[str, ...] = (),
    ) -> TestOutcome:
        error = next(iter(errors), None)
        if error is None:
            return TestOutcome(test=test, verdict=verdict, duration_ms=ms)
        path, line = self.tree.deepest(error.stack)
        return TestOutcome(
            test=test,
            verdict=verdict,
            exception=error.name,
            where=f"{path}:{line}" if path else "",
            message=error.message[:MESSAGE_CHARS_MAX],
            duration_ms=ms,
            phantoms=phantoms,
        )

    def broken(self) -> dict[str, str]:
        """Files that cannot be collected, and those in which two tests share a name; why."""
        why = {path: _first_message(told) for path, told in self.files.items() if path}
        for (path, chain), told in self.tests.items():
            if len(told) > 1:
                lines = ", ".join(str(each.line) for each in told)
                why.setdefault(path, f"{len(told)} tests are called {' > '.join(chain)!r} (lines {lines})")
        return why


def _has_titles(source: str, chain: tuple[str, ...]) -> bool:
    """Whether the text of the file has the titles; a row's is put together when it runs."""
    text = source.replace("\\", "")
    return ".each" in text or all(title.replace("\\", "") in text for title in chain)


def is_syntax(error: Wrong) -> bool:
    """Whether a file could not be loaded because some file is not valid source."""
    return error.name == "SyntaxError" or bool(_SYNTAX.search(f"{error.message}\n{error.stack}"))


def _first_message(told: FileTold) -> str:
    error = told.errors[0] if told.errors else None
    return f"{error.name}: {error.message}"[:MESSAGE_CHARS_MAX] if error else "its process died"
