"""Loads our plugin into whatever pytest a gate's command runs: by the environment, for no option is ours to give."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.ports import Confinement, GateRun, Mount

PLUGIN = "penstock_verdicts"
PLUGIN_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pytest_plugin")
PLUGIN_AT = "/penstock/pytest"
"""Where the plugin appears inside a sandbox."""
ONLY_AT = "/penstock/only"
ONLY_FILE = "files.json"
SHADOWS = (PLUGIN, "pytest", "_pytest", "pluggy")
"""Modules that `python -m pytest` would take from the root of the tree under test instead."""

_PATH_IN_COMMAND = re.compile(r"\bPYTHONPATH=(?=\S)")


@dataclass(frozen=True)
class Watch:
    """How a command is run so that pytest tells us what it does."""

    confinement: Confinement
    command: str
    pipe_env: str = "PENSTOCK_VERDICT_FD"


def watch(run: GateRun, nonce: str, is_mounted: bool) -> Watch:
    """The gate's command with our plugin. `is_mounted`: the sandbox shows nothing that is not mounted."""
    confinement, env = run.confinement, dict(run.confinement.env)
    shown = _Shown(is_mounted)
    plugin_at = shown.show(PLUGIN_DIR, PLUGIN_AT)
    if run.order.only_files:
        env["PENSTOCK_ONLY"] = os.path.join(shown.show(_write_only(run), ONLY_AT), ONLY_FILE)
    options = ["-p", PLUGIN]
    if run.order.look in ("judge", "witness"):
        options.append("--continue-on-collection-errors")
    env["PYTEST_ADDOPTS"] = " ".join([*options, env.get("PYTEST_ADDOPTS", "")]).strip()
    env["PYTHONPATH"] = os.pathsep.join(p for p in (plugin_at, env.get("PYTHONPATH", "")) if p)
    env |= {
        "PENSTOCK_NONCE": nonce,
        "PENSTOCK_ROOT": confinement.checkout.at if is_mounted else confinement.checkout.path,
    }
    return Watch(
        confinement=msgspec.structs.replace(confinement, env=env, mounts=(*confinement.mounts, *shown.mounts)),
        command=_PATH_IN_COMMAND.sub(lambda found: found[0] + shlex.quote(plugin_at) + os.pathsep, run.spec.command),
    )


class _Shown:
    """Directories of ours that those inside can read: mounted, or where they are."""

    def __init__(self, is_mounted: bool) -> None:
        self._is_mounted = is_mounted
        self.mounts: list[Mount] = []

    def show(self, source: str, target: str) -> str:
        if not self._is_mounted:
            return source
        self.mounts.append(Mount(source=source, target=target))
        return target


def _write_only(run: GateRun) -> str:
    directory = Path(run.job_dir).absolute() / "only"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ONLY_FILE).write_bytes(msgspec.json.encode(run.order.only_files))
    return str(directory)


def is_hidden(stderr: bytes) -> bool:
    """Did pytest say that it cannot import our plugin?"""
    return f"No module named '{PLUGIN}'".encode() in stderr


def find_shadow(root: str) -> str:
    """A file or directory at the root of the tree that would be imported as the runner or our plugin; empty: none."""
    names = (name for module in SHADOWS for name in (module, f"{module}.py"))
    return next((name for name in names if os.path.lexists(os.path.join(root, name))), "")
