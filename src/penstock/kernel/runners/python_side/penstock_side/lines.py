"""Which lines of the tree run: those of imports apart from those of a test.

From Python 3.12 on `sys.monitoring` tells, each line once per test and then no more, so a loop costs what one turn
costs. Before, a trace function is called for every call; it looks up the code object and leaves at once where that is
none of the tree's, or where the test has run all of it. Both see every thread that starts later. Code that sets a trace
function of its own blinds the second one for the rest of its test.

Even to leave at once costs ten times what a small call costs. So a trace function follows a test for so many calls, and
a function for so many lines; then it is off, and the files of which more may have been run are told as `unfollowed`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dis import findlinestarts
from types import CodeType
from typing import Any

from .places import Tree

TOLD_MAX = 100_000
"""Lines of one code object that one test is followed for: what it first runs after so many is not seen."""
CALLS_MAX = 500_000
"""Calls that one test is followed for, those into code that is none of the tree's too."""

LocalTrace = Callable[[Any, str, Any], Any]


class Lines:
    """Executed lines by absolute path, in two ledgers: what imports ran, and what the present test ran."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._imports: dict[str, set[int]] = {}
        self._test: dict[str, set[int]] = {}
        self._depth = 0
        self._is_testing = False
        self._number = 0
        self._unfollowed: set[str] = set()
        self._is_given_up = False

    def start(self) -> None:
        """Watch this thread and those that it starts."""

    def around_import(self, is_begin: bool) -> None:
        """The code of a module begins or ends."""
        self._depth += 1 if is_begin else -1

    def begin_test(self) -> None:
        """From here on, lines outside imports are the test's."""
        for lines in self._test.values():
            lines.clear()
        self._unfollowed.clear()
        self._is_testing, self._is_given_up = True, False
        self._number += 1

    def end_test(self) -> dict[str, str]:
        """What it ran, by relative path."""
        self._is_testing = False
        return self._told(self._test)

    def unfollowed(self, needs: list[str]) -> list[str]:
        """Files of which the test that ended may have run more than was told. `needs`: all that it may have run."""
        told = {self._tree.relative(path) for path in self._unfollowed}
        return sorted({*told, *needs, *self._told(self._test)} if self._is_given_up else told)

    def of_imports(self) -> dict[str, str]:
        """What imports ran so far, by relative path."""
        return self._told(self._imports)

    def _told(self, ledger: dict[str, set[int]]) -> dict[str, str]:
        return {self._tree.relative(path): ranges(lines) for path, lines in sorted(ledger.items()) if lines - {0}}

    @property
    def _ledger(self) -> dict[str, set[int]]:
        return self._test if self._is_testing and not self._depth else self._imports


class TracedLines(Lines):
    """By a trace function: any Python. It is off between tests, when nothing is imported."""

    _call: LocalTrace | None = None
    _calls = 0

    def around_import(self, is_begin: bool) -> None:
        """The code of a module begins or ends."""
        super().around_import(is_begin)
        self._switch()

    def begin_test(self) -> None:
        """From here on, lines outside imports are the test's."""
        super().begin_test()
        self._calls = 0
        self._switch()

    def end_test(self) -> dict[str, str]:
        """What it ran, by relative path."""
        told = super().end_test()
        self._switch()
        return told

    def _switch(self) -> None:
        if self._call is not None:
            call = self._call if self._depth or (self._is_testing and not self._is_given_up) else None
            threading.settrace(call)
            sys.settrace(call)

    def start(self) -> None:
        """From now on, watch this thread and those that it starts."""
        traced: dict[CodeType, _Watched | None] = {}

        def call(frame: Any, event: str, arg: Any) -> LocalTrace | None:
            code = frame.f_code
            self._calls += 1
            if self._calls > CALLS_MAX and self._is_testing and not self._depth:
                self._give_up()
                return None
            try:
                watched = traced[code]
            except KeyError:
                watched = traced[code] = self._watched(code)
            if watched is None:
                return None
            if not self._is_testing or self._depth:
                watched.imports.add(frame.f_lineno)
                return watched.of_import
            if watched.test != self._number:
                watched.begin(self._number)
            return watched.of_test(frame, event, arg) if watched.left else None

        self._call = call

    def _give_up(self) -> None:
        self._is_given_up = True
        self._switch()

    def _watched(self, code: CodeType) -> _Watched | None:
        if not self._tree.relative(code.co_filename):
            return None
        imports, test = (ledger.setdefault(code.co_filename, set()) for ledger in (self._imports, self._test))
        return _Watched(code, imports, test, self._unfollowed)


class _Watched:
    """A code object of the tree. Once a test has run all of its lines, its calls cost next to nothing."""

    __slots__ = ("imports", "left", "lines", "of_import", "of_test", "test", "told")

    def __init__(self, code: CodeType, imports: set[int], ran: set[int], unfollowed: set[str]) -> None:
        self.lines = frozenset(line for _, line in findlinestarts(code) if line)
        self.left: set[int] = set()
        self.test, self.told, self.imports = 0, 0, imports
        left, add_import, add = self.left, imports.add, ran.add

        def of_import(frame: Any, event: str, arg: Any) -> Any:
            add_import(frame.f_lineno)
            return of_import

        def of_test(frame: Any, event: str, arg: Any) -> Any:
            line = frame.f_lineno
            add(line)
            left.discard(line)
            self.told += 1
            if self.told > TOLD_MAX and left:
                left.clear()
                unfollowed.add(code.co_filename)
            if not left:
                frame.f_trace_lines = False
            return of_test

        self.of_import, self.of_test = of_import, of_test

    def begin(self, test: int) -> None:
        """Another test runs it."""
        self.test, self.told = test, 0
        self.left.clear()
        self.left.update(self.lines)


class MonitoredLines(Lines):
    """By `sys.monitoring`."""

    def start(self) -> None:
        """Watch every thread."""
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        self._restart = monitoring.restart_events
        tool = next(n for n in (4, 3, 1) if monitoring.get_tool(n) is None)
        events, off = monitoring.events, monitoring.DISABLE
        monitoring.use_tool_id(tool, "penstock")

        def begun(code: CodeType, offset: int) -> Any:
            if self._tree.relative(code.co_filename):
                monitoring.set_local_events(tool, code, events.LINE)
                self._ledger.setdefault(code.co_filename, set()).add(code.co_firstlineno)
            return off

        def line(code: CodeType, number: int) -> Any:
            self._ledger.setdefault(code.co_filename, set()).add(number)
            return off

        monitoring.register_callback(tool, events.PY_START, begun)
        monitoring.register_callback(tool, events.LINE, line)
        monitoring.set_events(tool, events.PY_START)

    def around_import(self, is_begin: bool) -> None:
        """The code of a module begins or ends; what it ran may run again for the test."""
        super().around_import(is_begin)
        if not self._depth:
            self._restart()

    def begin_test(self) -> None:
        """From here on, lines outside imports are the test's."""
        super().begin_test()
        self._restart()


def watch_lines(tree: Tree) -> Lines:
    """What this Python has."""
    return MonitoredLines(tree) if hasattr(sys, "monitoring") else TracedLines(tree)


def ranges(lines: set[int]) -> str:
    """`{3, 4, 5, 9}` -> `3-5,9`."""
    spans: list[list[int]] = []
    for line in sorted(lines - {0}):
        if spans and line == spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
