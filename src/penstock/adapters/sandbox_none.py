"""No sandbox: a clean environment and a clean HOME, and no isolation at all. Must be asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from penstock.ports import CLEAN_ENV, TOOL_VARIABLES, Command, Confinement, Isolation


class NoSandbox:
    """Runs commands as the operator, in the checkout where it lies.

    Paths are the host's: a mount whose target is not its source cannot be had, and is left out. What it would have
    brought must be put there before (`Environments.prepare`). `environ` is the operator's environment.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(os.environ if environ is None else environ)

    def isolation(self) -> Isolation:
        """None, of any kind."""
        return Isolation(
            name="none",
            filesystem=False,
            network=False,
            processes=False,
            note="commands run as you do: they can read and change what you can",
        )

    def wrap(self, argv: Sequence[str], confinement: Confinement, cwd: str | None = None) -> Command:
        """`argv` in the checkout; a `cwd` as seen inside is translated."""
        checkout = confinement.checkout
        inside = os.path.relpath(cwd or checkout.at, checkout.at)
        is_within = inside != ".." and not inside.startswith("../")
        return Command(
            argv=tuple(argv),
            cwd=os.path.normpath(os.path.join(checkout.path, inside)) if is_within else str(cwd),
            env=self._env(confinement),
        )

    def _env(self, confinement: Confinement) -> dict[str, str]:
        tools = {name: self._environ[name] for name in TOOL_VARIABLES if name in self._environ}
        rustup = os.path.join(self._environ.get("HOME") or "/", ".rustup")
        if os.path.isdir(rustup):
            tools.setdefault("RUSTUP_HOME", rustup)
        return {
            **CLEAN_ENV,
            **tools,
            "PATH": self._environ.get("PATH", os.defpath),
            "HOME": confinement.home,
            "TMPDIR": confinement.home,
            **confinement.env,
        }
