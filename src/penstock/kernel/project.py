"""Who runs the tests of a file: a technology, in the project that the file lies in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from penstock.core.policy import Frozen
from penstock.core.redgreen.test_id import RunnerName
from penstock.kernel.runner import TestRunner


class Project(Frozen, order=True):
    """`directory`: relative to the root, with forward slashes; empty: the root. `command`: empty: the runner's own."""

    directory: str
    runner: RunnerName
    command: str = ""

    @property
    def words(self) -> str:
        """For people: `pytest`, `pytest in backend`."""
        return f"{self.runner} in {self.directory}" if self.directory else self.runner


class Runners(Protocol):
    """The runners of one working tree: one for each project, made when it is first asked for."""

    def project_of(self, path: str) -> Project | None:
        """Who runs tests of this file, whether it has any; None where nobody can."""

    def projects(self, paths: Iterable[str]) -> tuple[Project, ...]:
        """All that have tests among these files of the tree."""

    def at(self, project: Project) -> TestRunner:
        """Its runner."""

    async def close(self) -> None:
        """End what is kept warm; idempotent. No process is left."""


def is_below(path: str, directory: str) -> bool:
    """Whether `path` lies below `directory`; all do below the root."""
    return not directory or path.startswith(f"{directory}/")


def upward(directory: str) -> Iterator[str]:
    """The directory and those above it, up to the root, which is empty."""
    while directory:
        yield directory
        directory = directory.rpartition("/")[0]
    yield ""
