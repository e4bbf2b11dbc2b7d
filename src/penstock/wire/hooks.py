"""Hooks of agent programs for the repository around a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from penstock.kernel.hooks import hook_client
from penstock.kernel.hooks.gate_socket import gate_address, is_listening
from penstock.kernel.hooks.installing import (
    Agent,
    Change,
    Home,
    Scope,
    Status,
    install,
    installed_command,
    settings_file,
    status,
    uninstall,
)
from penstock.kernel.hooks.trying import Trial, self_test
from penstock.ports import BadInput, Problem

AGENTS: tuple[Agent, ...] = get_args(Agent)
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True)
class Seen:
    """The hooks of one agent in one place, and what came of trying them."""

    agent: Agent
    scope: Scope
    status: Status
    trials: tuple[Trial, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why they cannot be relied on; empty: they were seen to refuse."""
        missing = (f"not for {', '.join(self.status.missing)}",) if self.status.missing else ()
        doubled = ("there more than once, or changed",) if self.status.state == "partial" and not missing else ()
        failed = tuple(f"{trial.what}: no ({trial.failure})" for trial in self.trials if trial.failure)
        return (*missing, *doubled, *self.status.problems, *failed)


def home_of(directory: Path) -> Home:
    """Where settings lie for the working tree around `directory`. Raises `BadInput`."""
    for folder in (directory.resolve(), *directory.resolve().parents):
        if (folder / ".git").exists():
            return Home(top=folder, user=Path.home(), environ=os.environ)
    fix = "go to your repository, or make one: git init"
    raise BadInput([Problem(file=str(directory), line=0, field="", message="not a git repository", fix=fix)])


def install_hooks(agent: Agent, scope: Scope, directory: Path) -> tuple[Change, Seen]:
    """Put them in, and try them. Raises `BadInput`."""
    home = home_of(directory)
    if status(agent, scope, home).state != "installed":
        _require_no_gate(agent, scope, home)
    change = install(agent, scope, home)
    return change, _seen(agent, scope, home)


def uninstall_hooks(agent: Agent, scope: Scope, directory: Path) -> Change:
    """Take them out. Raises `BadInput`."""
    home = home_of(directory)
    if status(agent, scope, home).state != "absent":
        _require_no_gate(agent, scope, home)
    return uninstall(agent, scope, home)


def seen_hooks(directory: Path) -> Iterator[Seen]:
    """Every place that has some of ours, each tried. Raises `BadInput`."""
    home = home_of(directory)
    for agent in AGENTS:
        for scope in SCOPES:
            seen = _seen(agent, scope, home)
            if seen.status.state != "absent":
                yield seen


def attend(agent: Agent) -> None:
    """Be the hook: stdin to the gate, its answer to stdout. Ends the process."""
    hook_client.main([agent])


def _require_no_gate(agent: Agent, scope: Scope, home: Home) -> None:
    """A gate takes back what was written behind it: the settings of an agent in its tree too."""
    if scope == "project" and is_listening(gate_address(str(home.top), home.environ)):
        path = settings_file(agent, scope, home)
        message = "the gate guards this tree, and would take the change back"
        fix = "stop it first: penstock gate stop; then the same again, and penstock gate start"
        raise BadInput([Problem(file=str(path), line=0, field="", message=message, fix=fix)])


def _seen(agent: Agent, scope: Scope, home: Home) -> Seen:
    found = status(agent, scope, home)
    command = installed_command(agent, scope, home)
    return Seen(agent, scope, found, self_test(agent, command, home.top) if command else ())
