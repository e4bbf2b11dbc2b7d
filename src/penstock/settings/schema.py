"""What settings are once they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.core.policy import Frozen, Network, Policy
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.documents.fields import Origin

Source = Literal["markdown", "plan"]


class AgentSettings(Frozen):
    """Who does the work. Its deadlines are limits of the policy (`turn_wall_ms_max`, `turn_stall_ms_max`)."""

    kind: Literal["command", "scripted"] = "command"
    command: tuple[str, ...] = ()
    """Argument vector (a command line becomes `sh -c LINE`); empty: not set yet, `needs_agent` says so."""
    script: str = ""
    """`scripted`: path of the script, relative to the repository."""
    pass_env: tuple[str, ...] = ()
    """Names of the environment variables that it gets."""
    template: str = ""
    """`[agent.prompt] template`; empty: the built-in one."""


class SandboxSettings(Frozen):
    """How what we run is confined."""

    mode: Literal["bubblewrap", "none"] = "bubblewrap"
    readable: tuple[str, ...] = ()
    """Host paths (absolute, or from `~/`) that may be read besides the system's own."""
    agent_network: Network = "none"


class TicketsSettings(Frozen):
    """Where tickets come from: a directory of Markdown files, or one plan file; relative to the repository."""

    source: Source = "markdown"
    path: str = "tickets"


class NotifySettings(Frozen):
    """`command`: a command line that gets each occasion as JSON on stdin; empty: nobody is told."""

    command: str = ""


class RedGreenSettings(Frozen):
    """`[redgreen]`. Where no mode is written, tickets that name tests are worked on in strict mode, if that is borne."""

    policy: RedGreenPolicy = RedGreenPolicy()
    is_mode_written: bool = False


@dataclass(frozen=True)
class Settings:
    """Everything in `penstock.toml`, defaults filled in."""

    policy: Policy
    agent: AgentSettings
    sandbox: SandboxSettings
    tickets: TicketsSettings
    notify: NotifySettings
    redgreen: RedGreenSettings
    file: str
    origins: tuple[Origin, ...] = ()
    """Each value in force in the file's own words, and the line it came from."""
