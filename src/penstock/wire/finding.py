"""What `penstock doctor` says of one thing."""

from __future__ import annotations

from typing import Literal

from penstock.core.policy import Frozen
from penstock.ports import Problem

Level = Literal["ok", "warn", "bad"]


class Finding(Frozen):
    """One thing that was looked at. `bad`: `penstock run` cannot work, or what guards does not; `warn`: less safely."""

    level: Level
    what: str
    fix: str = ""


def bad(problem: Problem) -> Finding:
    """The finding that a problem is."""
    place = f"{problem.file}:{problem.line}" if problem.line else problem.file
    what = f"{place}: [{problem.field}] {problem.message}" if problem.field else f"{place}: {problem.message}"
    return Finding(level="bad", what=what, fix=problem.fix)
