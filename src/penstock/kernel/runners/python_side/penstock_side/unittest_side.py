"""Runs exactly the unittest tests asked for, and tells how each really ended.

There is no plugin to be: this is the runner. Files are loaded as `unittest discover` loads them, the directory above
the outermost package (or else the file's own) being on the search path. The methods of a `TestCase` that set up, call
and tear down are wrapped on the instance, since unittest itself does not say in which of them something was raised.
"""

from __future__ import annotations

import fnmatch
import os
import sys
import unittest
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from .phantoms import PHANTOMS_MAX
from .places import Tree, clean
from .reds import Judge, Red
from .trial import Stage, Trial, Wire, key_of

PATTERN = "test*.py"
FAILURES: tuple[type[BaseException], ...] = (AssertionError,)
PHASES = {"_callSetUp": "setup", "_callTestMethod": "call", "_callTearDown": "teardown", "doCleanups": "teardown"}


def warm_up(tree: Tree) -> None:
    """All of it is imported already."""


def run(order: dict[str, Any], tree: Tree, stage: Stage) -> int:
    """One session. Its status is 0: it says nothing about the tests."""
    session = Session(tree, stage, order["tests"], order.get("until_noticed", False))
    suite = session.load(order["files"] or list(_discovered(tree, order["without"])))
    if not order["collect"]:
        suite.run(session)
    return 0


class Session(unittest.TestResult):
    """Loads, keeps what is wanted, and is told by unittest how each test fares."""

    def __init__(self, tree: Tree, stage: Stage, wanted: list[Wire] | None, until_noticed: bool) -> None:
        super().__init__()
        self._tree, self._stage = tree, stage
        self._wanted = None if wanted is None else {key_of(test) for test in wanted}
        self._until_noticed = until_noticed
        self._judge = Judge(tree, stage.phantoms, FAILURES)
        self._trial: Trial | None = None
        self._phase = "setup"
        self.raised: list[tuple[BaseException, str]] = []
        """By the phases of the present test; before Python 3.11 unittest tells of them only when all are over."""
        self._planned: list[unittest.TestCase] = []
        self._begun: set[int] = set()

    # --- what there is ----------------------------------------------------------------------------------------------

    def load(self, files: list[str]) -> unittest.TestSuite:
        """Tests of these files, told and kept as far as they are wanted."""
        suite = unittest.TestSuite()
        for file in files:
            module = self._module(file)
            if module is not None:
                suite.addTests(self._kept(unittest.defaultTestLoader.loadTestsFromModule(module)))
        self._stage.pipe.tell("collected")
        return suite

    def _module(self, file: str) -> ModuleType | None:
        path = os.path.join(self._tree.root, *file.split("/"))
        if not os.path.exists(path):
            return None
        with _Telling(self, file):
            return self._imported(_place_of(path), file)
        return None

    def _imported(self, place: tuple[str, str], file: str) -> ModuleType:
        directory, name = place
        if directory not in sys.path:
            sys.path.insert(0, directory)
        for _ in range(PHANTOMS_MAX):
            try:
                return import_module(name)
            except ImportError as error:
                if not self._stage.phantoms.stand_in_for(error):
                    raise
                self._stage.uses_phantoms.add(file)
        return import_module(name)

    def tell_broken(self, file: str, error: BaseException) -> None:
        """A file cannot be loaded."""
        red = self._judge.unloadable(error, error.__traceback__)
        self._stage.pipe.tell("broken", path=file, **red._asdict())

    def _kept(self, suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
        for test in _flat(suite):
            if self._wanted is None or key_of(self.id_of(test)) in self._wanted:
                self._planned.append(test)
                self._stage.pipe.tell("found", id=self.id_of(test), line=_line_of(test))
                yield test

    def id_of(self, test: unittest.TestCase) -> Wire:
        """The canonical id of a test."""
        kind = type(test)
        names = [name for name in kind.__qualname__.split(".") if name != "<locals>"]
        return ["unittest", self._file_of(test), [clean(n) for n in names] + [clean(_method(test))], None]

    def _file_of(self, test: unittest.TestCase) -> str:
        return self._tree.file_of(sys.modules.get(type(test).__module__))

    # --- how each ends ----------------------------------------------------------------------------------------------

    def startTest(self, test: unittest.TestCase) -> None:
        """A trial begins."""
        super().startTest(test)
        self._begun.add(id(test))
        self._phase = "setup"
        self.raised.clear()
        self._watch(test)
        self._trial = Trial(self._stage, self.id_of(test))

    def _watch(self, test: Any) -> None:
        for name, phase in PHASES.items():
            original = getattr(test, name, None)
            if original is not None:
                setattr(test, name, self._noting(phase, original))

    def _noting(self, phase: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*values: Any, **named: Any) -> Any:
            self._phase = phase
            with _Noting(self.raised, phase):
                return original(*values, **named)

        return noted

    def stopTest(self, test: unittest.TestCase) -> None:
        """The trial ends."""
        super().stopTest(test)
        trial, self._trial = self._trial, None
        if trial is not None:
            path = getattr(sys.modules.get(type(test).__module__), "__file__", None) or ""
            verdict = trial.end(self._stage.sources.needs([path]))
            if self._until_noticed and verdict != "green":
                self.stop()

    def addSuccess(self, test: unittest.TestCase) -> None:
        """Every phase passed."""
        super().addSuccess(test)
        for phase in ("setup", "call", "teardown"):
            if self._trial is not None:
                self._trial.passed(phase)

    def addError(self, test: Any, err: Any) -> None:
        """Something was raised: in a test, or in the set-up of a class or module before any of its tests."""
        super().addError(test, err)
        if self._trial is not None:
            self._fail(test, err)
        else:
            self._tell_outside(test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        """An assertion failed."""
        super().addFailure(test, err)
        self._fail(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        """A part of a test ended."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.raised.append((err[1], "call"))
            self._fail(test, err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """It was skipped."""
        super().addSkip(test, reason)
        red = Red("skipped", "", "", clean(reason)[:400])
        if self._trial is not None:
            self._trial.failed(red)
        elif isinstance(test, unittest.TestCase):  # Python 3.12.1 does not start what is skipped
            self._tell_of(test, red)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        """It failed as marked."""
        super().addExpectedFailure(test, err)
        self._conclude(Red("xfail", "", "", ""))

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        """It passed, though marked."""
        super().addUnexpectedSuccess(test)
        self._conclude(Red("xpass", "", "", ""))

    def _fail(self, test: unittest.TestCase, err: Any) -> None:
        _, error, tb = err
        phase = next((phase for each, phase in self.raised if each is error), self._phase)
        if phase == "call":
            self._conclude(self._judge.red(error, tb, self._file_of(test)))
        else:
            self._conclude(self._judge.other(f"{phase}_error", error, tb))

    def _conclude(self, red: Red) -> None:
        if self._trial is not None:
            self._trial.failed(red)

    def _tell_outside(self, holder: Any, err: Any) -> None:
        """`setUpClass (module.Class)` and the like: every test of it that has not begun has that verdict."""
        name = str(getattr(holder, "description", ""))
        verdict = "teardown_error" if name.startswith("tearDown") else "setup_error"
        red = self._judge.other(verdict, err[1], err[2])
        place = name.partition("(")[2].rstrip(")")
        for test in self._planned:
            kind = type(test)
            is_below = place in (kind.__module__, f"{kind.__module__}.{kind.__qualname__}")
            if is_below and (verdict == "teardown_error" or id(test) not in self._begun):
                self._tell_of(test, red)

    def _tell_of(self, test: unittest.TestCase, red: Red) -> None:
        self._begun.add(id(test))
        self._stage.pipe.tell("end", id=self.id_of(test), **red._asdict())


class _Noting:
    """Notes in which phase something was raised, and lets it pass."""

    def __init__(self, raised: list[tuple[BaseException, str]], phase: str) -> None:
        self._raised, self._phase = raised, phase

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, tb: Any) -> None:
        if error is not None:
            self._raised.append((error, self._phase))


class _Telling:
    """Tells of whatever a file raises while it is loaded, and goes on."""

    def __init__(self, session: Session, file: str) -> None:
        self._session, self._file = session, file

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, tb: Any) -> bool:
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, unittest.SkipTest):
            self._session.tell_broken(self._file, error)
        return isinstance(error, (Exception, SystemExit))


def _flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from _flat(each)
        elif isinstance(each, unittest.TestCase):
            yield each


def _method(test: unittest.TestCase) -> str:
    return str(getattr(test, "_testMethodName", "runTest"))


def _line_of(test: unittest.TestCase) -> int:
    method = getattr(type(test), _method(test), None)
    return int(getattr(getattr(method, "__code__", None), "co_firstlineno", 0))


def _place_of(path: str) -> tuple[str, str]:
    """Directory to search, and dotted name in it, of a file: above its outermost package."""
    directory, name = os.path.split(path)
    names = [os.path.splitext(name)[0]]
    while os.path.exists(os.path.join(directory, "__init__.py")):
        directory, package = os.path.split(directory)
        names.insert(0, package)
    return directory, ".".join(names)


def _discovered(tree: Tree, without: list[str]) -> Iterator[str]:
    others = {os.path.join(tree.root, each) for each in without}
    for directory, inner, names in os.walk(tree.project):
        places = ((each, os.path.join(directory, each)) for each in sorted(inner))
        inner[:] = [each for each, place in places if tree.has_directory(place) and place not in others]
        for name in sorted(names):
            if fnmatch.fnmatch(name, PATTERN):
                yield os.path.relpath(os.path.join(directory, name), tree.root).replace(os.sep, "/")
