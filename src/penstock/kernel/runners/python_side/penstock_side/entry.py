"""One order, carried out in a process of its own: a cold spawn begins here, and a fork of the warm server."""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NoReturn

from .lines import watch_lines
from .phantoms import Phantoms
from .places import Pipe, Tree
from .sources import Sources
from .trial import Stage

SESSIONS = {"pytest": "pytest_side", "unittest": "unittest_side"}
OURS = ("PENSTOCK_VERDICT_FD", "PENSTOCK_NONCE", "PENSTOCK_ORDER", "PENSTOCK_SERVE_FD", "PYTEST_ADDOPTS")
"""Taken out of the environment: nothing that the tree starts sees them."""


def take_environment() -> dict[str, str]:
    """What we were told, and nobody after us; children read no bytecode of the tree either."""
    told = {name: os.environ.pop(name, "") for name in OURS}
    os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(os.sep, "nonexistent", "bytecode")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    return told


def main() -> NoReturn:
    """A cold spawn: the order is a file, the verdicts go to the inherited pipe."""
    told = take_environment()
    pipe = Pipe(int(told["PENSTOCK_VERDICT_FD"]), told["PENSTOCK_NONCE"])
    with open(told["PENSTOCK_ORDER"], encoding="utf-8") as file:
        order = json.load(file)
    carry_out(order, pipe)


def load_session(runner: str) -> Any:
    """The module that runs sessions; imports the project's own runner, before anything of the tree can be imported."""
    return import_module(f".{SESSIONS[runner]}", __package__)


def carry_out(order: Mapping[str, Any], pipe: Pipe, planted: dict[str, ast.Module] | None = None) -> NoReturn:
    """Run it, tell, and leave at once: what the tree left running is not waited for."""
    session = load_session(order["runner"])
    tree = Tree(order["root"], order["project"])
    sources, lines, phantoms = Sources(tree, planted), watch_lines(tree), Phantoms(tree)
    sources.around_import = lines.around_import
    sources.install()
    sys.path[0] = tree.project
    pipe.tell("loaded")
    if order["lines"]:
        lines.start()
    status = session.run(order, tree, Stage(pipe, lines, phantoms, sources))
    sys.settrace(None)
    pipe.tell("finished", status=status, import_lines=lines.of_imports())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
