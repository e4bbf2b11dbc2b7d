"""What is known of one test as it runs, whoever runs it: its phases, in order, and the verdict that they amount to."""

from __future__ import annotations

import time
from typing import Any

from .lines import Lines
from .phantoms import Phantoms
from .places import Pipe
from .reds import Red
from .sources import Sources

OPEN = ("green", "red_assert", "red_exception", "red_missing_target")
"""Verdicts that phantoms have a say in."""

Wire = list[Any]


def key_of(test: Wire) -> tuple[Any, ...]:
    """A test id that can be looked up."""
    runner, path, chain, param = test
    return runner, path, tuple(chain), param


class Stage:
    """What all tests of one process share."""

    def __init__(self, pipe: Pipe, lines: Lines, phantoms: Phantoms, sources: Sources) -> None:
        self.pipe, self.lines, self.phantoms, self.sources = pipe, lines, phantoms, sources
        self.uses_phantoms: set[str] = set()
        """Test files that could be loaded only with phantoms in place."""


class Trial:
    """One test in one run. The first phase that did not pass decides, whatever is said later."""

    def __init__(self, stage: Stage, test: Wire) -> None:
        self._stage = stage
        self.test = test
        self._phases: set[str] = set()
        self.red: Red | None = None
        self._touched: list[str] = []
        stage.phantoms.touched.clear()
        stage.phantoms.is_strict = True
        stage.pipe.tell("start", id=test)
        self._begun = time.monotonic()
        stage.lines.begin_test()

    def passed(self, phase: str) -> None:
        """A phase ran to its end."""
        self._phases.add(phase)

    def failed(self, red: Red) -> None:
        """A phase did not; only the first that says so counts."""
        self._touched += self._stage.phantoms.touched
        self.red = self.red or red

    def end(self, needs: list[str]) -> str:
        """Tell all about it; gives the verdict."""
        stage = self._stage
        executed = stage.lines.end_test()
        red = self._heed_phantoms(self.red or self._without_red(), set(executed) - {self.test[1]})
        stage.phantoms.is_strict = False
        stage.pipe.tell(
            "end",
            id=self.test,
            verdict=red.verdict,
            exception=red.exception,
            where=red.where,
            message=red.message,
            ms=max(0, round((time.monotonic() - self._begun) * 1000)),
            executed=executed,
            imported=needs,
            unfollowed=stage.lines.unfollowed(needs),
            phantoms=list(red.phantoms),
        )
        return red.verdict

    def _without_red(self) -> Red:
        is_whole = {"setup", "call", "teardown"} <= self._phases
        return Red("green", "", "", "") if is_whole else Red("not_run", "", "", "not every phase of it ran")

    def _heed_phantoms(self, red: Red, ran: set[str]) -> Red:
        """With phantoms in place a test asks for something only if it touched one, or failed in what is there."""
        touched = tuple(dict.fromkeys([*self._touched, *self._stage.phantoms.touched]))
        if touched and red.verdict in (*OPEN, "setup_error"):
            return red._replace(verdict="red_missing_target", phantoms=touched)
        if red.verdict not in OPEN:
            return red
        if self.test[1] not in self._stage.uses_phantoms or red.verdict == "red_missing_target":
            return red
        if red.verdict == "green":
            return red._replace(verdict="collect_error", message="its file imports what does not exist")
        return red if ran else red._replace(verdict="vacuous")
