"""Which lines of the tree run: those of imports apart from those of a test.

From Python 3.12 on `sys.monitoring` tells, each line once per test and then no more, so a loop costs what one turn
costs. Before, a trace function is called for every call; it looks up the code object and leaves at once where that is
none of the tree's. Both see every thread that starts later. Code that sets a trace function of its own blinds the
second one for the rest of its test.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import CodeType
from typing import Any

from .places import Tree

LocalTrace = Callable[[Any, str, Any], Any]


class Lines:
    """Executed lines by absolute path, in two ledgers: what imports ran, and what the present test ran."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._imports: dict[str, set[int]] = {}
        self._test: dict[str, set[int]] = {}
        self._depth = 0
        self._is_testing = False

    def start(self) -> None:
        """Watch this thread and those that it starts."""

    def around_import(self, is_begin: bool) -> None:
        """The code of a module begins or ends."""
        self._depth += 1 if is_begin else -1

    def begin_test(self) -> None:
        """From here on, lines outside imports are the test's."""
        for lines in self._test.values():
            lines.clear()
        self._is_testing = True

    def end_test(self) -> dict[str, str]:
        """What it ran, by relative path."""
        self._is_testing = False
        return self._told(self._test)

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

    def around_import(self, is_begin: bool) -> None:
        """The code of a module begins or ends."""
        super().around_import(is_begin)
        self._switch()

    def begin_test(self) -> None:
        """From here on, lines outside imports are the test's."""
        super().begin_test()
        self._switch()

    def end_test(self) -> dict[str, str]:
        """What it ran, by relative path."""
        told = super().end_test()
        self._switch()
        return told

    def _switch(self) -> None:
        if self._call is not None:
            call = self._call if self._depth or self._is_testing else None
            threading.settrace(call)
            sys.settrace(call)

    def start(self) -> None:
        """From now on, watch this thread and those that it starts."""
        traced: dict[CodeType, tuple[LocalTrace, LocalTrace] | None] = {}

        def call(frame: Any, event: str, arg: Any) -> LocalTrace | None:
            code = frame.f_code
            try:
                locals_of = traced[code]
            except KeyError:
                locals_of = traced[code] = self._locals_of(code)
            if locals_of is None:
                return None
            local = locals_of[self._is_testing and not self._depth]
            local(frame, event, arg)
            return local

        self._call = call

    def _locals_of(self, code: CodeType) -> tuple[LocalTrace, LocalTrace] | None:
        if not self._tree.relative(code.co_filename):
            return None
        both = (ledger.setdefault(code.co_filename, set()) for ledger in (self._imports, self._test))
        of_import, of_test = map(_adds_to, both)
        return of_import, of_test


def _adds_to(lines: set[int]) -> LocalTrace:
    add = lines.add

    def local(frame: Any, event: str, arg: Any) -> Any:
        add(frame.f_lineno)
        return local

    return local


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
