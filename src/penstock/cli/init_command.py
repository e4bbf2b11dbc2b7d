"""`penstock init`: write settings that fit this repository, and say what comes next."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.settings.detect import Findings

EXAMPLE = """\
---
title: Say what is wanted in one line
# depends_on: [other-ticket]
# priority: 2          # 0 most urgent to 4
# acceptance:          # what must come true; at least one that is red now
#   - test: tests/test_example.py::test_it
---
Say what is wanted, and how one can tell that it is there. The agent reads this text.
"""
MESSAGE = "Add the settings of Penstock"


@click.command()
@click.option("--example", is_flag=True, help="Write an example ticket, too.")
@click.option("--commit/--no-commit", default=None, help="Commit what was written, or do not ask.")
def init(example: bool, commit: bool | None) -> int:
    """Look at the repository and write a commented penstock.toml that works for it.

    Nothing that is there is overwritten. On a terminal it offers to commit what it wrote.
    """
    from penstock.cli.main import here

    written = write_settings(here(), example)
    for line in written.told:
        click.echo(line, err=True)
    may_commit = sys.stdin.isatty() and click.confirm("Commit these files?", err=True) if commit is None else commit
    if may_commit:
        commit_files(written.top, written.files)
        click.echo(f"committed: {MESSAGE}", err=True)
    for line in next_steps(written, is_committed=may_commit):
        click.echo(line, err=True)
    return 0


@dataclass(frozen=True)
class Written:
    """What `init` wrote, relative to the top of the repository, and what it has to say about it."""

    top: Path
    files: tuple[str, ...]
    told: tuple[str, ...]
    has_gate: bool


def write_settings(directory: Path, example: bool = False) -> Written:
    """Inspect the repository around `directory` and write. Raises `BadInput` where it may not."""
    import shutil

    from penstock.settings.detect import detect
    from penstock.settings.proposal import propose
    from penstock.settings.reader import FILE

    top = top_of(directory)
    if (top / FILE).exists() or (top / FILE).is_symlink():
        raise refused(
            FILE, "is already there and is not overwritten", f"edit it, or move it away: mv {FILE} {FILE}.old"
        )
    findings = detect(top, shutil.which)
    files = {FILE: propose(findings)}
    if example and not (top / "tickets/example.md").exists():
        files["tickets/example.md"] = EXAMPLE
    (top / "tickets").mkdir(exist_ok=True)
    for name, text in files.items():
        with (top / name).open("x", encoding="utf-8") as stream:
            stream.write(text)
    gates = [gate for gate in findings.gates if not gate.doubt]
    told = [
        f"found: {', '.join(findings.languages) or 'no language that is known here'}",
        *(f"gate {gate.name}: {gate.command}" for gate in gates),
        *(f"left out gate {gate.name}: {gate.doubt}" for gate in findings.gates if gate.doubt),
        *(f"missing: {tool} is not on PATH" for tool in findings.missing),
        *(f"warning: git does not ignore {path}: add it to .gitignore" for path in not_ignored(top, findings)),
        f"wrote {', '.join(files)}",
    ]
    return Written(top, tuple(files), tuple(told), bool(gates))


def not_ignored(top: Path, findings: Findings) -> list[str]:
    """What set-ups make and git would take for somebody's work."""
    made = [f"{path}/" for env in findings.envs for path in env.paths]
    return [path for path in made if git(top, "check-ignore", "--quiet", path).returncode != 0]


def next_steps(written: Written, is_committed: bool) -> list[str]:
    """What the user does now, in order."""
    steps = ["set [agent] command in penstock.toml: the program that does the work"]
    if not written.has_gate:
        steps.insert(0, "write a gate in penstock.toml: the command that tells whether this repository works")
    steps.append('add a ticket: penstock tickets add "What is wanted" --body "How one can tell"')
    if not is_committed:
        steps.append(f"commit: git add {' '.join(written.files)} && git commit -m {MESSAGE!r}")
    steps += ["see whether all is well: penstock doctor", "penstock run"]
    return ["", "next:", *(f"  {number}. {step}" for number, step in enumerate(steps, start=1))]


def top_of(directory: Path) -> Path:
    """Top of the working tree around `directory`. Raises `BadInput` where there is none."""
    found = git(directory, "rev-parse", "--show-toplevel")
    if found.returncode != 0 and "dubious ownership" in found.stderr:
        fix = 'make it yours: sudo chown -R "$(id -u)" .'
        raise refused(str(directory), "belongs to another user, so git does not work in it", fix)
    if found.returncode != 0:
        raise refused(str(directory), "is not in a git repository", "make it one: git init")
    return Path(found.stdout.removesuffix("\n"))


def commit_files(top: Path, files: tuple[str, ...]) -> None:
    """Commit exactly these files, whatever else is staged. Raises `BadInput` with what git said."""
    for command in (("add", "--", *files), ("commit", "--quiet", "-m", MESSAGE, "--", *files)):
        done = git(top, *command)
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())
            fix = f"commit by hand: git add {' '.join(files)} && git commit"
            raise refused(files[0], f"was written, but git could not commit it: {said}", fix)


def git(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *command], cwd=directory, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError:
        raise refused("git", "is not on PATH", "install git") from None


def refused(file: str, message: str, fix: str) -> Exception:
    from penstock.ports import BadInput, Problem

    return BadInput([Problem(file=file, line=0, field="", message=message, fix=fix)])
