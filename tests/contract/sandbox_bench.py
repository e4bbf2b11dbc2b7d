"""A checkout and a HOME in a temporary directory, a sandbox, and shell lines that are run in it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.adapters.sandbox_none import NoSandbox
from penstock.ports import Checkout, Confinement, ProcessEnd, ProcessOrder, Sandbox

SANDBOXES = ("bubblewrap", "none")


def open_sandbox(name: str, environ: dict[str, str] | None = None, readable: tuple[str, ...] = ()) -> Sandbox:
    """The sandbox of that name, for an operator with that environment."""
    if name == "none":
        return NoSandbox(environ=environ)
    sandbox = BubblewrapSandbox(readable=readable, environ=environ)
    assert sandbox.isolation().filesystem, sandbox.probe()
    return sandbox


class SandboxBench:
    """`at` is where the checkout appears inside: its own place on the host, unless told."""

    def __init__(self, place: Path, sandbox: Sandbox, at: str = "") -> None:
        self.place = place
        self.sandbox = sandbox
        self.checkout = place / "checkout"
        self.home = place / "home"
        self.job = place / "job"
        for directory in (self.checkout, self.home):
            directory.mkdir(parents=True, exist_ok=True)
        self.at = at or str(self.checkout)

    def confinement(self, **more: Any) -> Confinement:
        checkout = Checkout(path=str(self.checkout), at=self.at, commit="c" * 40, tree="t" * 40)
        return Confinement(checkout=checkout, home=str(self.home), **more)

    def run(
        self, line: str | tuple[str, ...], *, cwd: str | None = None, stdin: bytes = b"", **confinement: Any
    ) -> ProcessEnd:
        argv = ("sh", "-c", line) if isinstance(line, str) else line
        command = self.sandbox.wrap(argv, self.confinement(**confinement), cwd=cwd)
        order = ProcessOrder(command=command, job_dir=str(self.job), stdin=stdin, wall_ms=60_000)
        return asyncio.run(LocalProcesses(grace_ms=200).run(order))

    def does(self, line: str | tuple[str, ...], **more: Any) -> bool:
        """Whether the line succeeds."""
        return self.run(line, **more).exit_status == 0

    def said(self, line: str | tuple[str, ...], **more: Any) -> str:
        """What the line prints; it must succeed."""
        end = self.run(line, **more)
        assert (end.outcome, end.exit_status) == ("exited", 0), (self.job / "stderr").read_text()
        return (self.job / "stdout").read_text()


def operator_environ(home: Path, **more: str) -> dict[str, str]:
    """An operator with that HOME and the PATH of this machine."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "SECRET_TOKEN": "hidden", **more}
