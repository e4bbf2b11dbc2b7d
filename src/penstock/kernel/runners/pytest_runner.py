"""Runs pytest: the project's own, in the project's own interpreter; cold, or in forks of a server that is kept warm."""

from __future__ import annotations

from penstock.kernel.launching import Launcher
from penstock.kernel.runners.warm_python import WarmPythonRunner


class PytestRunner(WarmPythonRunner):
    """`command`: the interpreter, with or without `-m pytest` and options. Without one: the nearest `.venv/bin/python`
    upwards from the project's `directory`, else `python3` as those inside find it, else ours. `warm`: keep a fork
    server that has imported what is installed.
    """

    def __init__(self, launcher: Launcher, command: tuple[str, ...] = (), directory: str = "", *, warm: bool) -> None:
        super().__init__("pytest", launcher, command, directory, warm=warm)
