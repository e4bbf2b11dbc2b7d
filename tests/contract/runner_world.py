"""What a test runner is tried on: small projects, one per situation, and the verdict each of their tests must get.

A world is data about one runner. `test_runners.py` takes the `WORLDS` of every module `runner_worlds_*.py` beside it,
and runs the same questions on all of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Literal, get_args

from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import RunVerdict
from penstock.kernel.launching import Launcher
from penstock.kernel.runner import TestRunner
from penstock.ports import Checkout, Confinement, Sandbox

Situation = Literal[
    "green",
    "red_assert",
    "red_exception",
    "red_missing_target",
    "vacuous",
    "skip",
    "xfail",
    "xpass",
    "crash",
    "hang",
    "broken_import",
    "syntax_error",
    "setup_error",
    "teardown_error",
    "unknown",
    "regex_title",
    "duplicate_titles",
    "rows",
    "exits_early",
    "forged_output",
    "forged_results",
]
"""`unknown`: a green test, and an id that no test has; `forged_*`: a red or absent test that the tree claims is green.

`hang` and `crash` may ask for more than one test: those that ended before keep their verdict.
"""
SITUATIONS: tuple[Situation, ...] = get_args(Situation)

HANG_WALL_MS = 3_000
"""Deadline of the situation `hang`; each world must be able to start within it."""


@dataclass(frozen=True)
class Expected:
    """A test that is asked for, and the verdicts that are right for it."""

    __test__ = False
    test: TestId
    verdicts: tuple[RunVerdict, ...]


@dataclass(frozen=True)
class Scene:
    """Files (path -> text, dedented when written) and what a run of exactly these tests must report, in this order."""

    files: Mapping[str, str]
    expected: tuple[Expected, ...]


@dataclass(frozen=True)
class RunnerWorld:
    """All that the suite knows of one runner, cold or warm."""

    name: str
    open: Callable[[Launcher], TestRunner]
    scenes: Mapping[Situation, Scene]
    """The situations that this technology has."""
    covered: tuple[str, str]
    """In the scene `green`: the test's own file, and the production file that its first test runs."""
    flip: tuple[str, str, str]
    """In the scene `green`: production file, and a text in it whose replacement, of the same size, makes it red."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Common to all scenes: the project's settings."""
    prepare: Callable[[Path], None] = lambda top: None
    """Bring what is no text: links to installed packages."""
    missing: Callable[[], str] = lambda: ""
    """Why this machine cannot run it; empty: it can."""
    is_warm: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    """For the launcher."""

    def lay(self, top: Path, scene: Scene) -> None:
        """Write the project of a scene below `top`."""
        for path, text in {**self.files, **scene.files}.items():
            write(top / path, text)
        self.prepare(top)


def scene(files: Mapping[str, str], *expected: tuple[TestId, RunVerdict | tuple[RunVerdict, ...]]) -> Scene:
    """A scene whose tests have the verdict, or one of the verdicts, beside them."""
    each = ((test, (v,) if isinstance(v, str) else v) for test, v in expected)
    return Scene(files=files, expected=tuple(Expected(test, verdicts) for test, verdicts in each))


def write(path: Path, text: str) -> None:
    """Write a dedented text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")


def launcher_for(
    place: Path, env: Mapping[str, str] | None = None, sandbox: Sandbox | None = None, at: str = ""
) -> Launcher:
    """Launches in the tree `place/"tree"`, unconfined unless told; served processes have the real keeper."""
    for name in ("tree", "home", "scratch"):
        (place / name).mkdir(parents=True, exist_ok=True)
    tree = str(place / "tree")
    checkout = Checkout(path=tree, at=at or tree, commit="c" * 40, tree="t" * 40)
    return Launcher(
        processes=LocalProcesses(grace_ms=200),
        sandbox=sandbox or NoSandbox(),
        confinement=Confinement(checkout=checkout, home=str(place / "home")),
        scratch=place / "scratch",
        keeper=keeper(),
        env=dict(env or {}),
    )


def keeper() -> tuple[str, ...]:
    """What keeps a served process and all below it together; nothing where the system has no such thing."""
    import penstock.adapters.keeper as module

    return (sys.executable, "-I", "-S", module.__file__, str(os.getpid()), "--") if sys.platform == "linux" else ()
