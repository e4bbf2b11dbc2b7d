"""What is missing or unsafe here, each with its fix."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw

from penstock.adapters.git.repository import inspect_repository
from penstock.adapters.log_sqlite import is_safe
from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.evidence.words import counted
from penstock.ports import BadInput, Problem
from penstock.settings.reader import FLEET, load_settings, needs_agent
from penstock.wire.agent_program import agent_problem
from penstock.wire.doctor_fleet import examine_fleet
from penstock.wire.doctor_redgreen import examine_redgreen
from penstock.wire.finding import Finding, bad
from penstock.wire.project import Project, find_settings, open_project
from penstock.wire.run import open_sandbox


def examine(directory: Path) -> list[Finding]:
    """Look at the machine, the repository, the settings, the tickets and the fleet; everything at once."""
    with ThreadPoolExecutor(2) as beside:  # tests are collected, and a queen is asked, meanwhile
        redgreen = beside.submit(lambda: list(examine_redgreen(directory)))
        fleet = beside.submit(examine_fleet, os.environ)
        here = [*_machine(), *_sandbox(directory), *_repository(directory)]
        return [*here, *redgreen.result(), *fleet.result()]


def _machine() -> Iterator[Finding]:
    yield Finding(level="ok", what=f"Python {platform.python_version()} at {sys.executable}")
    git = shutil.which("git")
    if git is None:
        yield Finding(level="bad", what="git is not installed", fix="install git 2.38 or newer")
    else:
        yield Finding(
            level="ok", what=subprocess.run([git, "--version"], capture_output=True, text=True).stdout.strip()
        )
    sqlite = apsw.sqlite_lib_version()
    if is_safe(sqlite):
        yield Finding(level="ok", what=f"SQLite {sqlite} (bundled with apsw)")
    else:
        fix = "reinstall Penstock with its locked requirements"
        yield Finding(level="bad", what=f"SQLite {sqlite} can corrupt a log (WAL reset)", fix=fix)
    if sys.platform != "linux":
        yield Finding(level="warn", what=f"{sys.platform}: no sandbox here", fix='set [sandbox] mode = "none" to go on')


def _sandbox(directory: Path) -> Iterator[Finding]:
    mode = "bubblewrap"
    try:
        settings = load_settings(find_settings(directory))
        mode = settings.sandbox.mode
        if settings.sandbox.agent_network == "host":
            fix = 'set [sandbox] agent_network = "none" if your agent needs no network'
            yield Finding(level="warn", what="agents have the host's network", fix=fix)
        for env in settings.policy.envs:
            if env.network == "host":
                what = f"the set-up of environment {env.name} has the host's network (gates have none)"
                yield Finding(level="ok", what=what)
    except BadInput:
        pass
    answer = BubblewrapSandbox().probe()
    if mode == "none":
        fix = 'remove mode = "none" from [sandbox] in penstock.toml'
        fix = f"{answer}; then {fix}" if isinstance(answer, str) else fix
        yield Finding(level="warn", what="agents and gates run unconfined", fix=fix)
    elif isinstance(answer, str):
        yield Finding(level="bad", what=f"bubblewrap: {answer}", fix='install it, or set [sandbox] mode = "none"')
    else:
        yield Finding(level="ok", what="bubblewrap: files, network and processes are confined")


def _repository(directory: Path) -> Iterator[Finding]:
    if shutil.which("git") is None:
        return
    try:
        facts = asyncio.run(inspect_repository(directory))
    except BadInput as wrong:
        yield from (Finding(level="bad", what=f"repository: {p.message}", fix=p.fix) for p in wrong.problems)
        return
    yield Finding(level="ok", what=f"repository {facts.top}, branch {facts.target}")
    if facts.is_dirty:
        what = f"{counted(facts.dirty_paths, 'uncommitted change')}, which agents and gates do not see"
        fix = "commit what they should see (your settings and tickets are read as they lie here)"
        yield Finding(level="warn", what=what, fix=fix)
    try:
        project = open_project(directory)
        problem = needs_agent(project.settings) or _agent_out_of_sight(project)
        if problem is not None:
            yield bad(problem)
        elif project.settings.agent.model.model.startswith(FLEET):
            yield Finding(level="ok", what=f"the queen of the fleet answers, and offers {_models(project)}")
        gates = ", ".join(g.name for g in project.settings.policy.gates)
        yield Finding(level="ok", what=f"penstock.toml: gates {gates}")
        yield Finding(level="ok", what=counted(len(project.tickets().read()), "ticket"))
    except BadInput as wrong:
        yield from map(bad, wrong.problems)


def _models(project: Project) -> str:
    said = project.settings.agent.model
    return ", ".join(name.removeprefix(FLEET) for name in (said.model, said.escalation_model) if name)


def _agent_out_of_sight(project: Project) -> Problem | None:
    try:
        return agent_problem(project.settings, open_sandbox(project), project.facts.top)
    except BadInput:
        return None  # there is no sandbox to look from, which is told already
