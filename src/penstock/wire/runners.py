"""The test runners of a working tree, one for each of its projects."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from penstock.adapters import keeper
from penstock.core.redgreen.commands import node_in, options_in, split
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.kernel.launching import Launcher
from penstock.kernel.project import Project, Runners
from penstock.kernel.runner import TestRunner
from penstock.wire.projects import Projects

LOOKED_AT_MAX = 50_000
RUNNER_GRACE_MS = 200
"""Between TERM and KILL: a test that hangs has had its time."""
NOT_LOOKED_AT = frozenset({".git", ".venv", "venv", "node_modules", "target", "__pycache__"})


class TreeRunners:
    """`kernel.project.Runners` of one tree."""

    def __init__(self, launcher: Launcher, policy: RedGreenPolicy, *, warm: bool = True) -> None:
        self._launcher, self._warm = launcher, warm
        self._projects = Projects(launcher.top, policy)
        self._made: dict[Project, TestRunner] = {}

    def project_of(self, path: str) -> Project | None:
        """Who runs tests of this file."""
        return self._projects.of(path)

    def projects(self, paths: Iterable[str]) -> tuple[Project, ...]:
        """All that have tests among these files."""
        return self._projects.among(paths)

    def at(self, project: Project) -> TestRunner:
        """Its runner; made at first use, and kept."""
        if project not in self._made:
            self._made[project] = make_runner(project, self._launcher, warm=self._warm)
        return self._made[project]

    async def close(self) -> None:
        """End what is kept warm."""
        for runner in self._made.values():
            await runner.close()


def make_runner(project: Project, launcher: Launcher, *, warm: bool) -> TestRunner:
    """The runner of a project; each is imported when it is needed."""
    command, directory = split(project.command), project.directory
    match project.runner:
        case "pytest":
            from penstock.kernel.runners.pytest_runner import PytestRunner

            return PytestRunner(launcher, command, directory, warm=warm)
        case "unittest":
            from penstock.kernel.runners.unittest_runner import UnittestRunner

            return UnittestRunner(launcher, command, directory, warm=warm)
        case "vitest":
            from penstock.kernel.runners.vitest_runner import VitestRunner, WarmVitestRunner

            kind = WarmVitestRunner if warm else VitestRunner
            return kind(launcher, node_in(command), directory)
        case "jest":
            from penstock.kernel.runners.jest_runner import JestRunner

            return JestRunner(launcher, node_in(command), directory)
        case "node":
            from penstock.kernel.runners.node_runner import NodeRunner

            return NodeRunner(launcher, node_in(command), directory)
        case "cargo":
            from penstock.kernel.runners.cargo_runner import CargoRunner

            return CargoRunner(launcher, directory, options=options_in(command))
        case "go":
            from penstock.kernel.runners.go_runner import GoRunner

            return GoRunner(launcher, directory, options=options_in(command))


async def why_not_strict(runners: Runners, top: Path) -> str:
    """Why strict mode cannot be borne: no test can be collected; empty where it can."""
    notes = []
    for project in runners.projects(files_in(top)):
        found = await runners.at(project).collect()
        if found.tests:
            return ""
        notes.append(f"{project.words}: {found.note or next(iter(found.broken.values()), 'no test')}")
    return "; ".join(notes) or "no test runner here"


def files_in(top: Path) -> Iterator[str]:
    """Files of a tree, relative to it; what was installed or built is left out."""
    looked = 0
    for directory, folders, files in os.walk(top):
        folders[:] = sorted(folder for folder in folders if folder not in NOT_LOOKED_AT)
        below = os.path.relpath(directory, top).replace(os.sep, "/")
        yield from (name if below == "." else f"{below}/{name}" for name in files)
        looked += len(files)
        if looked > LOOKED_AT_MAX:
            return


def keeper_command() -> tuple[str, ...]:
    """What a served process is started under: it ends with us, and takes all below it along."""
    if sys.platform != "linux":
        return ()
    return (sys.executable, "-I", "-S", os.path.abspath(keeper.__file__), str(os.getpid()), "--")
