"""An agent that follows a script instead of a model: real edits, delays, lies and crashes, by a real process.

What it does depends on ticket, attempt and turn alone, so a turn that is run again does the same again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.adapters.agents import scripted_program
from penstock.adapters.agents.command import CommandAgent
from penstock.adapters.agents.script import Script, load_script
from penstock.ports import AgentReport, Confinement, Mount, Processes, ProcessIdentity, Sandbox, TurnBrief

PROGRAM = os.path.abspath(scripted_program.__file__)
INTERPRETER = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
"""Ours outside any virtual environment: it is mounted too, so that it is there whatever the sandbox shows."""
MOUNTS_AT = "/run/penstock"
"""Where program and steps appear inside a sandbox."""


class ScriptedAgent:
    """`ports.Agent`: each turn is a `CommandAgent` whose program does the steps that the script has for it."""

    def __init__(self, script: Script, *, sandbox: Sandbox, processes: Processes) -> None:
        self._script = script
        self._sandbox = sandbox
        self._processes = processes

    @classmethod
    def from_file(
        cls, path: Path, *, sandbox: Sandbox, processes: Processes, shown_as: str | None = None
    ) -> ScriptedAgent:
        """The agent that follows the script at `path`. Raises `BadInput` with every problem of it."""
        return cls(load_script(path, shown_as or path.name), sandbox=sandbox, processes=processes)

    async def turn(
        self,
        brief: TurnBrief,
        confinement: Confinement,
        started: Callable[[ProcessIdentity], None] | None = None,
    ) -> AgentReport:
        """One turn in the confinement's clone. Cancelling ends its whole process tree."""
        order = brief.order
        steps = Path(brief.job_dir, "steps.json")
        steps.write_text(json.dumps(self._script.steps(order.ticket, order.attempt, order.turn)))
        program, mounts = PROGRAM, tuple[Mount, ...]()
        if self._sandbox.isolation().filesystem:
            program, steps_at = f"{MOUNTS_AT}/program.py", f"{MOUNTS_AT}/steps.json"
            mounts = (
                *(Mount(source=place, target=place) for place in _interpreter_places()),
                Mount(source=PROGRAM, target=program),
                Mount(source=str(steps), target=steps_at),
            )
        else:
            steps_at = str(steps)
        argv = (INTERPRETER, "-I", "-S", program, steps_at)
        agent = CommandAgent(argv, sandbox=self._sandbox, processes=self._processes)
        confined = msgspec.structs.replace(confinement, mounts=(*confinement.mounts, *mounts))
        return await agent.turn(brief, confined, started)


def _interpreter_places() -> tuple[str, ...]:
    """Directories that our interpreter needs, but for the system's own, which every sandbox shows."""
    return () if sys.base_prefix == "/usr" else (os.path.realpath(sys.base_prefix),)
