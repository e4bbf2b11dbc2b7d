"""Whether the agent's program can be started where it will run: the sandbox hides most of what lies in a HOME.

Looked at before a run starts, for a program that is not found would use up every attempt of every ticket. So would the
built-in agent, which needs no program, without the key of its model.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from penstock.ports import BadInput, Checkout, Confinement, Problem, Sandbox
from penstock.settings.reader import FLEET, needs_key
from penstock.settings.schema import Settings

LOOK_S_MAX = 10
QUESTION = 'command -v -- "$1"'


def agent_problem(settings: Settings, sandbox: Sandbox, top: str) -> Problem | None:
    """What keeps the agent from starting; None where nothing does, or where only trying can tell."""
    return needs_key(settings, os.environ) or fleet_problem(settings) or program_problem(settings, sandbox, top)


def fleet_problem(settings: Settings) -> Problem | None:
    """What keeps the queen from serving the agent's model, where it is one of the fleet."""
    if not settings.agent.model.model.startswith(FLEET):
        return None
    from penstock.wire.fleet_model import fleet_problem as problem_of_fleet

    return problem_of_fleet(settings)


def program_problem(settings: Settings, sandbox: Sandbox, top: str) -> Problem | None:
    """What keeps the agent's program from being found."""
    program = program_of(settings.agent.command) if settings.agent.kind == "command" else ""
    if program.startswith("~"):
        fix = f"write its whole path: {os.path.expanduser(program)}"
        return problem(settings, f"`{program}` is not found: the agent's own HOME is empty", fix)
    if not program or is_found(program, sandbox, top):
        return None
    outside = shutil.which(program)
    if outside is None:
        message = f"`{program}` is no program" if "/" in program else f"`{program}` is not on PATH"
        return problem(settings, message, "install it, or write the whole path of the program")
    places = ", ".join(f'"{place}"' for place in dict.fromkeys(map(place_of, (outside, os.path.realpath(outside)))))
    fix = f"add to [sandbox]: readable = [{places}]; nothing secret may lie there"
    return problem(settings, f"the sandbox does not show `{program}` ({outside})", fix)


def place_of(program: str) -> str:
    """The directory that a program needs; never HOME, which holds more than programs."""
    directory = os.path.dirname(program)
    return program if directory == os.path.expanduser("~") else directory


def program_of(command: Sequence[str]) -> str:
    """The first word that is no assignment; empty where that is not plain, or a path within the repository."""
    try:
        words = shlex.split(command[2]) if tuple(command[:2]) == ("sh", "-c") else list(command[:1])
    except ValueError:
        return ""
    word = next((word for word in words if "=" not in word), "")
    is_plain = word != "" and not set(word) & set("$`(){};&|<>*?!")
    return word if is_plain and ("/" not in word or word.startswith(("/", "~/"))) else ""


def is_found(program: str, sandbox: Sandbox, top: str) -> bool:
    """Whether a shell in the sandbox finds the program; it looks on an empty checkout. True where none can look."""
    if program == top or program.startswith(f"{top}/"):
        return True
    with tempfile.TemporaryDirectory(prefix="penstock-look-") as empty:
        checkout = Checkout(path=empty, at=empty, commit="", tree="")
        argv = ("sh", "-c", QUESTION, "sh", program)
        command = sandbox.wrap(argv, Confinement(checkout=checkout, home=empty))
        try:
            looked = subprocess.run(
                command.argv, cwd=command.cwd, env=command.env, capture_output=True, timeout=LOOK_S_MAX, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return True
    return looked.returncode == 0


def problem(settings: Settings, message: str, fix: str) -> Problem:
    line = next((origin.line for origin in settings.origins if origin.key == "agent.command"), 0)
    return Problem(file=settings.file, line=line, field="agent.command", message=message, fix=fix)


def require_agent(settings: Settings, sandbox: Sandbox, top: str) -> None:
    """Raises `BadInput` where the agent cannot start."""
    found = agent_problem(settings, sandbox, top)
    if found is not None:
        raise BadInput([found])
