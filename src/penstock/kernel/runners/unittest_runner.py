"""Runs unittest in the project's own interpreter; cold, or in forks of a server that is kept warm."""

from __future__ import annotations

from penstock.kernel.launching import Launcher
from penstock.kernel.runners.warm_python import WarmPythonRunner


class UnittestRunner(WarmPythonRunner):
    """`command`: the interpreter, with or without `-m unittest`. Without one it is found as for pytest.

    `warm`: keep a fork server that has imported what is installed.
    """

    def __init__(self, launcher: Launcher, command: tuple[str, ...] = (), directory: str = "", *, warm: bool) -> None:
        super().__init__("unittest", launcher, command, directory, warm=warm)
