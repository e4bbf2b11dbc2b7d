"""One repository with its settings and its state directory: what every command begins with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from penstock.adapters.git.repository import RepositoryFacts, inspect_repository
from penstock.adapters.state_directory import StateDirectory
from penstock.ports import BadInput, Problem, Tickets
from penstock.settings.reader import FILE, load_settings
from penstock.settings.schema import Settings
from penstock.wire.backlog import source_of_tickets


@dataclass(frozen=True)
class Project:
    """A repository that can be worked with."""

    facts: RepositoryFacts
    settings: Settings
    state: StateDirectory

    @property
    def top(self) -> Path:
        """Top of the working tree."""
        return Path(self.facts.top)

    def tickets(self) -> Tickets:
        """Where its tickets come from."""
        return source_of_tickets(self.settings, self.top)


def open_project(directory: Path) -> Project:
    """Look at the repository around `directory` and read its settings. Raises `BadInput` with every problem."""
    problems: list[Problem] = []
    settings: Settings | None = None
    try:
        settings = load_settings(find_settings(directory))
    except BadInput as bad:
        problems += bad.problems
    try:
        landing = settings.policy.landing if settings else None
        facts = asyncio.run(inspect_repository(directory, landing))
    except BadInput as bad:
        raise BadInput([*bad.problems, *problems]) from None
    if problems or settings is None:
        raise BadInput(problems)
    return Project(facts=facts, settings=settings, state=StateDirectory(Path(facts.git_dir)))


def find_settings(directory: Path) -> Path:
    """The `penstock.toml` of the working tree around `directory`, or where it would be."""
    for folder in (directory, *directory.parents):
        if (folder / FILE).exists() or (folder / ".git").exists():
            return folder / FILE
    return directory / FILE
