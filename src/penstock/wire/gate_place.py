"""Where the gate of a working tree is found, and the policy that is in force there.

```
.git/penstock/gate/NAME.sock     where the daemon listens; NAME is of the tree's own path
.git/penstock/gate/NAME/         lock  epoch  daemon.log  blobs.sqlite  sessions/*.sqlite  scratch/
```
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.kernel.hooks.gate_socket import address_in
from penstock.ports import BadInput, Problem
from penstock.settings.reader import load_settings
from penstock.settings.redgreen import VARIABLE, mode_in_force
from penstock.settings.schema import RedGreenSettings
from penstock.wire.git_directory import git_directory
from penstock.wire.project import find_settings

AGENT_SETTINGS = (".claude/**", ".codex/**", ".cursor/**", ".openhands/**", ".mcp.json")
"""Who changes these while a gate is there could take its hooks out."""


@dataclass(frozen=True)
class GatePlace:
    """Where the gate of one working tree keeps its things."""

    top: Path
    directory: Path
    socket: Path

    @property
    def sessions(self) -> Path:
        """One ledger per session, named by when it began."""
        return self.directory / "sessions"

    def newest(self) -> Path | None:
        """The ledger of the newest session."""
        return max(self.sessions.glob("*.sqlite"), default=None) if self.sessions.is_dir() else None


@dataclass(frozen=True)
class Mode:
    """The policy in force, and where its mode comes from."""

    policy: RedGreenPolicy
    origin: str


def gate_place(directory: Path) -> GatePlace:
    """The place for the working tree around `directory`. Raises `BadInput` outside a repository."""
    common = git_directory(directory)
    top = next(f for f in (directory.resolve(), *directory.resolve().parents) if (f / ".git").exists())
    socket = Path(address_in(str(common), str(top)))
    return GatePlace(top=top, directory=socket.with_suffix(""), socket=socket)


def policy_in_force(directory: Path, environ: Mapping[str, str] = os.environ) -> Mode:
    """The policy of red-green here. Raises `BadInput` where settings or the variable are wrong."""
    path = find_settings(directory)
    settings = load_settings(path).redgreen if path.exists() else RedGreenSettings()
    mode, origin, fault = mode_in_force(settings, environ)
    if fault is not None:
        problem = Problem(file="environment", line=0, field=VARIABLE, message=fault[0], fix=fault[1])
        raise BadInput([problem])
    files = settings.policy.files
    files = msgspec.structs.replace(files, protected=(*files.protected, *AGENT_SETTINGS))
    return Mode(msgspec.structs.replace(settings.policy, mode=mode, files=files), origin)


def made(directory: Path) -> Path:
    """The directory, made where it is not there, for its owner alone."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
